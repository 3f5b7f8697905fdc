"""Bad input on the command line: a clear error that names the place and the remedy, exit code 2, nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entrenous import demo
from entrenous.bundle import encode_bundle, read_bundle
from tests.shop import BUNDLE_PATH, Clock, Shop

SPEC = """
format = 1
name = "tiny"
version = 1
lifetime_days = 30
[data]
events = "events.csv"
moments = "moments.csv"
public_research_data = true
[label]
event = "purchase"
within_days = 3
[split]
kind = "grouped"
folds = 2
[learner]
kind = "hist_gradient_boosting"
trees = 5
leaves = 4
learning_rate = 0.3
k = 2
[decision]
name = "promotion"
purpose = "personalize"
patterns = [["personalize"]]
tranches = ["low", "high"]
shares = [0.5, 0.5]
default_arm = "none"
choice = { low = "offer", high = "none" }
arms = { none = {}, offer = { payload = { code = "TEN" } } }
[[features]]
name = "visit_views_7d"
kind = "count"
event = "view_item"
window = 7
purpose = "personalize"
category = "user.behavior.browsing_history"
source = "first_party"
retention_days = 30
"""
POLICY = Path(__file__).parents[2] / "sdk" / "entrenous" / "demo" / "policy.toml"
START = 1_767_225_600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events, moments = ["visitor,time,name"], ["visitor,time"]
    for number in range(400):
        time = START + number * 3600
        events.append(f"v{number % 40},{time},view_item")
        if number % 3 == 0:
            events.append(f"v{number % 40},{time + 60},purchase")
        moments.append(f"v{number % 40},{time}")
    (tmp_path / "events.csv").write_text("\n".join(events) + "\n")
    (tmp_path / "moments.csv").write_text("\n".join(moments) + "\n")
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "policy.toml").write_bytes(POLICY.read_bytes())
    return tmp_path


def _train(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from entrenous.cli import main; sys.exit(main())", "train"]
    arguments = [str(folder / "spec.toml"), "--policy", str(folder / "policy.toml"), "--out", str(folder / "b.msgpack")]
    return subprocess.run([*command, *arguments, "--created", str(START)], capture_output=True, text=True, cwd=folder)


def test_a_table_becomes_a_bundle_and_the_same_inputs_the_same_bytes(folder):
    run = _train(folder)
    assert run.returncode == 0, run.stderr
    first = (folder / "b.msgpack").read_bytes()
    assert (folder / "b.card.json").exists()
    assert _train(folder).returncode == 0
    assert (folder / "b.msgpack").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("spec.toml", "format = 1", "format = 1\ncolour = 3", ["spec.toml: colour", "not a known key", "remove it"]),
        ("spec.toml", "retention_days = 30\n", "", ["features[0].retention_days", "is missing", "add it"]),
        ("spec.toml", "window = 7", "window = 31", ["features[0].window", "longer than the retention"]),
        ("spec.toml", "events.csv", "gone.csv", ["gone.csv", "is not there"]),
        (
            "policy.toml",
            'tenant = "demo_shop"',
            'tenant = "demo_shop"\nowner = "x"',
            ["policy.toml: owner", "remove it"],
        ),
        (
            "policy.toml",
            "retention_days = 90\n",
            "",
            ["policy.toml: features[3].retention_days", "is missing"],
        ),
        (
            "policy.toml",
            'name = "visit_*"',
            'name = "seen_*"',
            ["features.visit_views_7d", "names no such feature", "ask the DPO"],
        ),
        ("moments.csv", "visitor,time\n", "visitor,when\n", ["moments.csv", "column"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_remedy(folder, name, old, new, says):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    run = _train(folder)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    for part in says:
        assert part in run.stderr
    assert not (folder / "b.msgpack").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("view_item\n", "viewed\n", "not an event we know"), (f"v0,{START},", "v0,1,", "no time between 2000 and 2100")],
)
def test_a_row_that_can_not_be_read_is_left_out_and_told_or_stops_it_all(folder, old, new, says):
    text = (folder / "events.csv").read_text()
    (folder / "events.csv").write_text(text.replace(old, new, 1))

    lenient = _train(folder)
    spec = (folder / "spec.toml").read_text()
    (folder / "spec.toml").write_text(spec.replace("[data]\n", "[data]\nmost_refused = 0.0\n"))
    strict = _train(folder)

    assert lenient.returncode == 0, lenient.stderr
    assert says in lenient.stdout
    assert strict.returncode == 2
    assert "events.csv" in strict.stderr
    assert "raise data.most_refused" in strict.stderr


def test_no_one_to_learn_from_is_said_plainly(folder):
    text = (folder / "spec.toml").read_text()
    (folder / "spec.toml").write_text(text.replace("public_research_data = true\n", ""))
    run = _train(folder)
    assert run.returncode == 2
    assert "data: has no row to learn from — see data.improve" in run.stderr


def test_help_lists_every_command():
    command = [sys.executable, "-c", "from entrenous.cli import main; main(['--help'])"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0
    for name in ("demo", "doctor", "train"):
        assert name in run.stdout


def _doctor(shop: Shop) -> subprocess.CompletedProcess[str]:
    shop.publish()
    home = shop.home
    options = {"source": shop.repository, "root": home / "root.json", "state": home / "state", "keys": home / "keys"}
    options |= {"tenant": demo.TENANT, "bundle": demo.BUNDLE}
    command = [sys.executable, "-c", "import sys; from entrenous.cli import main; sys.exit(main())", "doctor"]
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return subprocess.run([*command, *given], capture_output=True, text=True)


@pytest.fixture
def deployed(tmp_path: Path) -> Shop:
    """A shop that was opened once, in real time."""
    shop = Shop(tmp_path, Clock(int(time.time())))
    assert _doctor(shop).returncode == 0
    return shop


def _refused(run: subprocess.CompletedProcess[str], *says: str) -> None:
    assert run.returncode == 2
    for part in says:
        assert part in run.stderr.splitlines()[-1]


def test_doctor_says_what_is_there(deployed):
    said = _doctor(deployed).stdout
    for part in ("demo_shop version 1", "demo_promotions version 1, permitted", "history + personalize; personalize"):
        assert part in said
    assert "its signatures verify" in said


def test_doctor_refuses_one_changed_bit_of_a_model(deployed):
    data = bytearray(deployed.bundle.read_bytes())
    data[data.index(b"TreeEnsembleRegressor")] ^= 1
    deployed.bundle.write_bytes(data)
    _refused(_doctor(deployed), "bundles/demo_promotions: models.promotion", "not the model", "fetch the bundle again")


def test_doctor_refuses_one_changed_bit_on_the_way(deployed):
    (target,) = deployed.repository.glob(f"targets/{BUNDLE_PATH.partition('/')[0]}/*")
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    shutil.rmtree(deployed.home / "state")
    _refused(_doctor(deployed), "bundles/demo_promotions", "is not what was signed")


def test_doctor_refuses_an_operator_outside_the_profile(deployed):
    import onnx

    bundle = read_bundle(deployed.bundle.read_bytes())
    model = onnx.load_from_string(bundle.models["promotion"])
    model.graph.node.append(onnx.helper.make_node("Identity", ["margin"], ["again"]))
    deployed.bundle.write_bytes(encode_bundle(bundle.manifest, {"promotion": model.SerializeToString()}))
    _refused(_doctor(deployed), "bundles/demo_promotions: models.promotion")


@pytest.mark.parametrize("attribute", ["nodes_truenodeids", "nodes_featureids"])
def test_doctor_refuses_a_cycle_and_an_index_out_of_range(deployed, attribute):
    import onnx

    bundle = read_bundle(deployed.bundle.read_bytes())
    model = onnx.load_from_string(bundle.models["promotion"])
    (found,) = [one for one in model.graph.node[0].attribute if one.name == attribute]
    found.ints[0] = 0 if attribute == "nodes_truenodeids" else 99
    deployed.bundle.write_bytes(encode_bundle(bundle.manifest, {"promotion": model.SerializeToString()}))
    _refused(_doctor(deployed), "bundles/demo_promotions: models.promotion", "tree 0")


def test_doctor_refuses_what_the_policy_forbids(deployed):
    rule = 'name = "visit_*"\npurpose = "{}"'
    text = deployed.policy.read_text()
    deployed.policy.write_text(text.replace(rule.format("personalize"), rule.format("history")))
    _refused(_doctor(deployed), "features.visit_carts_7d.purpose", "have the policy changed")


def test_doctor_refuses_a_store_of_a_newer_format_and_leaves_it_alone(deployed):
    path = deployed.home / "state" / "visitors.db"
    with sqlite3.connect(path) as store:
        store.execute("pragma user_version=99")
    store.close()
    before = path.read_bytes()
    _refused(_doctor(deployed), "visitors.db", "format 99", "upgrade entrenous")
    assert path.read_bytes() == before


def test_doctor_says_when_a_bundle_has_expired(deployed):
    data = deployed.bundle.read_bytes()
    deployed.bundle.write_bytes(read_bundle(data).lasting(created=1, expires=1_000_000_000))
    _refused(_doctor(deployed), "bundles/demo_promotions", "has expired", "newer version")


def test_doctor_says_when_nobody_is_there_and_that_what_was_taken_serves(deployed):
    shutil.rmtree(deployed.repository)
    run = _doctor(deployed)
    assert "demo_promotions version 1, permitted" in run.stdout
    _refused(run, "timestamp.json", "is not there")


def test_a_command_loads_what_it_needs_and_no_other_commands_libraries():
    heavy = "duckdb ibis lightgbm matplotlib onnx pandas pyarrow scipy sklearn sqlglot starlette uvicorn xgboost celpy"
    code = (
        "import contextlib, io, sys; from entrenous.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['serve', '--help'])\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
