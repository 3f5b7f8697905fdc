"""docs/data-scientist.md, top to bottom: every block runs, every refusal is provoked, a runtime takes the bundle."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from entrenous import Client, Config, Deployment
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.cli import REFUSED, main
from entrenous.decision import Decision
from entrenous_exporters.card import read_card
from entrenous_exporters.card.sections import sections
from entrenous_exporters.spec import LEARNERS
from entrenous_exporters.suspicion import FEWEST_ROWS

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "data-scientist.md").read_text("utf-8")
MOMENT = {"pages": 3, "channel": "direct", "bought_before": 1}
GATE = {"differs from the library", "is further than"}
"""Refusals that no table provokes; `test_trees_refusals.py` and `test_dense.py` do."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def quoted(heading: str) -> set[str]:
    """The words quoted in the first column of the refusals that follow `heading`."""
    rows = GUIDE.partition(heading)[2].partition("| what is said |")[2].partition("\n\n")[0]
    return {words for row in re.findall(r"^\| (`[^|]+) \|", rows, re.M) for words in re.findall(r"`([^`]+)`", row)}


def said(words: str, text: str) -> bool:
    return all(part.strip() in text for part in words.split("…"))


def run(block: str) -> None:
    for line in block.splitlines():
        command = line.removeprefix("$ ")
        if command.startswith("entrenous "):
            assert main(shlex.split(command)[1:]) == 0, command
        else:
            subprocess.run(["bash", "-ec", command], check=True)


def opened(home: Path, state: Path) -> Client:
    """A client as the page opens it, with a state of its own."""
    root = (home / "repository/metadata/1.root.json").read_bytes()
    deployment = Deployment(root=root, tenant="corner_shop", bundle="delivery")
    return Client.open(
        Config(
            source=home / "repository",
            deployment=deployment,
            state=state / "state",
            keys=state / "keys",
            flush_seconds=0,
            refresh_seconds=0,
        )
    )


def answer(client: Client) -> Decision:
    visitor = client.visitor("customer-42")
    assert visitor.consent(client.example_choices).accepted
    return visitor.decide("delivery", "none", MOMENT)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a reader follows it in an empty directory; `first` holds what was there before the next version."""
    home = tmp_path_factory.mktemp("guide")
    train, publish, renew = blocks("console")
    simulate, serve = blocks("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exec(compile(simulate, "data-scientist.md", "exec"), {})
        for name, text in zip(("spec.toml", "policy.toml"), blocks("toml"), strict=True):
            Path(name).write_text(text, "utf-8")
        run(train)
        run(publish)
        shutil.copytree(home, home / "first")
        exec(compile(serve, "data-scientist.md", "exec"), {"print": lambda it: Path("printed").write_text(repr(it))})
        run(renew)
    return home


@pytest.fixture
def copy(followed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The first version in a directory of its own, to spoil."""
    shutil.copytree(followed / "first", tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_every_command_of_the_page_is_run_and_every_block_has_its_place():
    kinds = re.findall(r"^```(\w+)$", GUIDE, re.MULTILINE)
    assert kinds == ["python", "toml", "toml", "console", "console", "python", "console"]
    lines = "".join(blocks("console")).splitlines()
    assert len(lines) >= 9
    assert all(line.startswith("$ ") for line in lines)


def test_the_snippet_opens_the_bundle_and_gets_its_answer(followed):
    printed = (followed / "printed").read_text()
    assert printed.startswith("Decision(value='free_delivery', reason=TARGETING_MATCH, tranche=warm, receipt=")


def test_the_page_trains_on_those_who_granted_it_alone(followed):
    card = read_card((followed / "first/bundle.card.json").read_bytes())
    rows = card["data"]["rows"]
    assert (rows["given"], rows["without_improve"]) == (4000, 800), "the last 200 of 900 customers, four visits each"
    assert "Here, 800 of 4,000 rows never entered" in GUIDE
    assert f"fewer than {FEWEST_ROWS} rows of a class" in GUIDE
    shipped = b"".join((followed / "first" / name).read_bytes() for name in ("bundle.msgpack", "bundle.card.json"))
    assert not re.search(rb"\bc\d{3}\b", shipped), "a customer's name"


def test_the_figures_and_sections_of_the_page_are_those_of_the_card(followed):
    card = read_card((followed / "first/bundle.card.json").read_bytes())
    shown = re.findall(r"^\| ([a-z +]+) \| ([\d,]+) \| (\.\d+) \| (?:–|−(\.\d+)) \|$", GUIDE, re.MULTILINE)
    assert [(one[0], int(one[1].replace(",", ""))) for one in shown] == [
        (" + ".join(pattern["purposes"]), pattern["quality"]["rows"]) for pattern in card["patterns"]
    ]
    for pattern, (_, _, auc, price) in zip(card["patterns"], shown, strict=True):
        assert float(auc) == pytest.approx(pattern["quality"]["auc"], abs=0.01), "other libraries, about the same"
        assert float(price or 0) == pytest.approx(pattern["price"], abs=0.01)
    headings = {section.heading for section in sections(card, "en")}
    named = set(re.findall(r"^- \*([^*]+)\*:|\(\*([^*]+)\*\)", GUIDE, re.MULTILINE))
    assert len(named) == 6
    assert {one or other for one, other in named} <= headings
    assert (followed / "bundle.card.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_same_inputs_give_the_same_bytes(followed, copy):
    created = str(read_bundle(Path("bundle.msgpack").read_bytes()).manifest.created)
    again = ["train", "spec.toml", "--policy", "policy.toml", "--out", "again.msgpack", "--created", created]
    assert main(again) == 0
    for kind in (".msgpack", ".card.json", ".card.txt", ".card.html"):
        assert Path("again").with_suffix(kind).read_bytes() == Path("bundle").with_suffix(kind).read_bytes()


def test_a_runtime_goes_on_to_the_next_version(followed, copy):
    with opened(copy, copy / "runtime") as client:
        assert client.bundle is not None
        assert client.bundle.version == 1
        shutil.rmtree("repository")
        shutil.copytree(followed / "repository", "repository")
        assert client.refresh().data == {"policy": 1, "bundle": 2, "changed": True}
        assert answer(client).reason == "TARGETING_MATCH"


def test_a_policy_that_no_longer_permits_it_switches_a_signed_bundle_off(copy):
    policy = Path("policy.toml").read_text("utf-8").replace("version = 1", "version = 2", 1)
    kept = [line for line in policy.splitlines() if 'name = "bought_before"' not in line]
    with opened(copy, copy / "runtime") as client:
        assert answer(client).reason == "TARGETING_MATCH"
        Path("policy.toml").write_text("\n".join(kept), "utf-8")
        policy_signed, published = blocks("console")[1].splitlines()[1::2]
        run(f"{policy_signed}\n{published}")
        client.refresh()
        assert client.bundle is None
        assert "the policy names no such feature" in str(client.refused)
        assert answer(client).value == "none"


def spec(old: str, new: str) -> Callable[[], None]:
    """Replace something in the specification, which has to be there."""

    def spoil() -> None:
        text = Path("spec.toml").read_text("utf-8")
        assert old in text
        Path("spec.toml").write_text(text.replace(old, new, 1), "utf-8")

    return spoil


def cells(column: str, of: Callable[[int, str], object]) -> Callable[[], None]:
    """Rewrite a column of the table: `of` takes the row's number and the cell."""

    def spoil() -> None:
        with Path("visits.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with Path("visits.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({**row, column: of(i, row[column])} for i, row in enumerate(rows))

    return spoil


def policy(old: str, new: str) -> Callable[[], None]:
    """Replace something in the policy, and train something tiny: the policy is asked last."""

    def spoil() -> None:
        text = Path("policy.toml").read_text("utf-8")
        assert old in text
        Path("policy.toml").write_text(text.replace(old, new, 1), "utf-8")
        spec("folds = 3", "folds = 2")()
        spec("trees = 12, leaves = 6", "trees = 1, leaves = 2")()

    return spoil


TRAINING: dict[str, Callable[[], None]] = {
    "is missing": spec('column = "ordered"', 'column = "paid"'),
    "not a number": spec('values = ["direct", "mail", "search"]\n', ""),
    "neither true nor false": cells("improve", lambda _, cell: int(cell == "true")),
    "has no row to learn from": cells("improve", lambda *_: ""),
    "is … in all … rows": cells("ordered", lambda *_: 0),
    "rows of each class": cells("ordered", lambda i, _: int(i < 10)),
    "separates the label on its own": spec('field = "bought_before"', 'field = "ordered"'),
    "holds whole numbers that float32 changes": spec('field = "pages"', 'field = "visited"'),
    "leaves no row to judge by": spec('kind = "grouped", folds = 3', 'kind = "time", until = 2027-01-01'),
    "the policy names no such feature": policy('name = "visit_*"', 'name = "visit_pages"'),
    "asks … the policy says": policy('category = "user.behavior"', 'category = "user"'),
}


@pytest.mark.parametrize("words", TRAINING)
def test_what_training_refuses_is_said_as_the_page_says_and_nothing_is_written(copy, capsys, words):
    TRAINING[words]()
    assert main(["train", "spec.toml", "--policy", "policy.toml", "--out", "new.msgpack"]) == REFUSED
    assert said(words, capsys.readouterr().err)
    assert not list(Path().glob("new.*"))


def test_an_out_that_leads_nowhere_is_said_before_anything_is_trained(copy, capsys):
    assert main(["train", "spec.toml", "--policy", "policy.toml", "--out", "nowhere/new.msgpack"]) == REFUSED
    assert "nowhere: is not a directory" in capsys.readouterr().err


def _empty() -> None:
    shutil.rmtree("repository")
    assert main(["keys", "init", "--keys", "keys", "--repository", "repository"]) == 0


def _research() -> None:
    made = read_bundle(Path("bundle.msgpack").read_bytes())
    manifest = replace(made.manifest, version=2, public_research_data=True)
    Path("bundle.msgpack").write_bytes(encode_bundle(manifest, made.models))


SIGNING: dict[str, Callable[[], None]] = {
    "has no policy yet": _empty,
    "is signed already": lambda: None,
    "was learnt from public research data": _research,
}


@pytest.mark.parametrize("words", SIGNING)
def test_what_sign_refuses_is_said_as_the_page_says(copy, capsys, words):
    SIGNING[words]()
    sign = next(line for line in blocks("console")[1].splitlines() if "--role models" in line)
    assert main(shlex.split(sign)[2:]) == REFUSED
    assert said(words, capsys.readouterr().err)


def test_every_refusal_of_the_page_is_provoked_here_or_is_one_of_the_gates():
    assert quoted("## Train and read the card") == TRAINING.keys() | GATE
    assert quoted("## Sign and publish") == SIGNING.keys()
    code = "\n".join(
        path.read_text("utf-8") for room in ("consent", "exporters") for path in (PROJECT / room).rglob("*.py")
    )
    assert [words for words in (*TRAINING, *GATE, *SIGNING) if not said(words, code)] == []


def test_the_learners_that_the_page_names_are_those_there_are():
    paragraph = GUIDE.partition("- **Learners.**")[2].partition("- **")[0]
    assert set(re.findall(r"`([a-z_]+)`", paragraph)) - {"trees", "leaves", "learning_rate"} == set(LEARNERS)
    assert tomllib.loads(blocks("toml")[0])["learner"]["kind"] in LEARNERS
