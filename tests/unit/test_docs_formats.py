"""docs/formats.md and docs/dependencies.md keep up: examples run, keys and bounds are those of the parsers."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import sqlite3
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.recommending import deciding, stock
from tests.shop import Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, LARGEST, LONGEST, NUMBER_FIELDS
from entrenous.features import INTERPRETATIONS, interpret
from entrenous.features.declare import KINDS
from entrenous.recommending.strategy import Merchandising, Strategy
from entrenous_consent.audit import KINDS as AUDIT_KINDS
from entrenous_consent.keys import Keyring, MemoryKeyProvider
from entrenous_consent.packing import unpack
from entrenous_consent.parsing import REQUIRED, Table
from entrenous_consent.policy import AskedDecision, AskedFeature, Request, parse_policy
from entrenous_consent.records import ConsentRecord
from entrenous_consent.sqlite import SQLiteStore
from entrenous_exporters.campaigns import parse_campaign
from entrenous_exporters.readers import read_attributes, read_consent, read_events, read_moments
from entrenous_exporters.rows import table_rows
from entrenous_exporters.segmenting import load_starters
from entrenous_exporters.spec import parse_spec, read_either
from entrenous_exporters.tables import open_backend

ROOT = Path(__file__).parents[2]
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SECTIONS = {part.partition("\n")[0].strip(): part for part in re.split(r"^## ", FORMATS, flags=re.MULTILINE)[1:]}

POLICY, SPEC, BUNDLE = (
    SECTIONS[title] for title in ("Privacy policy", "Training specification", "Bundle and manifest")
)
SHIPPED_BUNDLE = files("entrenous.demo").joinpath("bundle.msgpack").read_bytes()
OWN_NAMES = re.compile(
    r"\.clip$|(\.|^)choice(\.|$)|\.costs$|\.shares$|\.posteriors(\.|$)|^models$|\.consent_mode$|\.with$|^mappings$|^webhooks$"
    r"|^manifest\.proofs$"
)
"""Tables whose keys are the author's own: metrics, tranches, models, purposes, parts of a starter."""
GETTERS = {
    "array": "array",
    "blob": "bytes",
    "choice": "one of",
    "flag": "true or false",
    "integer": "integer",
    "integers": "integers",
    "mapping": "table",
    "moment": "date",
    "name": "short key",
    "named_tables": "named tables",
    "names": "short keys",
    "number": "number",
    "numbers": "numbers",
    "scalar": "text, boolean or number",
    "table": "table",
    "tables": "tables",
    "text": "text",
    "texts": "texts",
}


@dataclass(frozen=True)
class Asked:
    """One call of a getter: where, for which key, as which type, within which bounds."""

    path: str
    key: str
    getter: str
    default: Any
    bounds: dict[str, Any] = field(hash=False)
    present: bool = False

    @property
    def phrases(self) -> list[str]:
        """What the key's row in the document must say."""
        said = [GETTERS[self.getter]]
        if {"least", "most"} <= self.bounds.keys():
            said = [f"{said[0]} {_spoken(self.bounds['least'])}..{_spoken(self.bounds['most'])}"]
        elif "longest" in self.bounds and self.getter in ("text", "blob"):
            said = [f"{said[0]} ≤ {_spoken(self.bounds['longest'])}"]
        elif self.getter == "text":
            said = ["text ≤ 500"]
        return [*said, "optional"] if self.default is not REQUIRED else said


def _spoken(bound: float) -> str:
    """Return a number as the document writes it: 2^31, 1,000, 1e-6."""
    if bound == int(bound) and abs(bound) <= 1 << 20:
        return f"{int(bound):,}"
    for value, less in ((bound, ""), (bound + 1, " - 1")):
        if isinstance(value, int) and value & (value - 1) == 0:
            return f"2^{value.bit_length() - 1}{less}"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{bound:g}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What the parsers ask of their tables from here on; calls that a getter makes itself are left out."""
    load_starters()  # read once, whoever asks first: not a part of what is parsed here
    calls: list[Asked] = []
    depth = 0

    def recording(getter: str, real: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(real)

        def wrapper(self: Table, *given: Any, **named: Any) -> Any:
            nonlocal depth
            if not depth and not OWN_NAMES.search(self.path):
                bound = signature.bind(self, *given, **named).arguments
                key, default = bound["key"], bound.get("default", REQUIRED)
                calls.append(Asked(self.path, key, getter, default, bound, key in self.keys()))
            depth += 1
            try:
                return real(self, *given, **named)
            finally:
                depth -= 1

        return wrapper

    for getter in (*GETTERS, "has"):
        monkeypatch.setattr(Table, getter, recording(getter, getattr(Table, getter)))
    return calls


def rows(section: str) -> dict[str, list[str]]:
    """Return the lines of a section's tables by what stands in backticks in their first cell."""
    found = defaultdict(list)
    for line in section.splitlines():
        if line.startswith("| "):
            for key in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                found[key].append(line)
    return found


def block(kind: str) -> str:
    """Return the one fenced example of a kind."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", FORMATS, re.DOTALL | re.MULTILINE)
    return found


def assert_described(section: str, calls: list[Asked]) -> None:
    described = rows(section)
    calls = [call for call in calls if call.path not in ("data.columns", "markers.values")]  # the author's own names
    unknown = {call.key for call in calls} - described.keys()
    assert not unknown
    wrong = {
        f"{call.path}.{call.key}: {phrase}"
        for call in calls
        if call.getter != "has"
        for phrase in call.phrases
        if not any(phrase in line for line in described[call.key])
    }
    assert not wrong


def shapeless(path: str) -> str:
    """Return a table's path without positions and without the author's own names."""
    return re.sub(r"(purposes|arms|decisions|models)\.\w+", r"\1.*", re.sub(r"\[\d+\]", "[]", path))


def assert_shows_everything(calls: list[Asked]) -> None:
    """The example uses every key that the parser asks for, so that no table stays unopened and unchecked."""
    shown = {(shapeless(call.path), call.key) for call in calls if call.present}
    # Nothing but the table's name says the role of these three.
    assert {(shapeless(call.path), call.key) for call in calls} - shown <= {
        ("recipients[]", "address"),
        ("roles[]", "address"),
        ("dpo", "address"),
    }


def test_every_key_of_the_policy_is_described(asked: list[Asked]):
    parse_policy(block("toml policy").encode())
    assert_described(POLICY, asked)


def test_the_example_policy_shows_every_key(asked: list[Asked]):
    parse_policy(block("toml policy").encode())
    assert_shows_everything(asked)


@pytest.mark.parametrize(
    "kind", ["toml spec", "toml marker spec", "toml table spec", "toml trial spec", "toml situation spec"]
)
def test_every_key_of_the_specification_is_described(kind: str, asked: list[Asked]):
    parse_spec(block(kind).encode())
    assert_described(SPEC, asked)


def test_the_example_specifications_show_every_key(asked: list[Asked]):
    for kind in ("toml spec", "toml marker spec", "toml table spec", "toml trial spec", "toml situation spec"):
        parse_spec(block(kind).encode())
    ready_made = [call for call in asked if re.match(r"markers\.\w+_", call.path)]
    assert_shows_everything([call for call in asked if call not in ready_made])


OWN_PATHS = re.compile(r"\.(tastes|regions)$|^tables$|recommending\.strategies$")


def test_every_key_of_a_specification_of_lists_is_described(asked: list[Asked], tmp_path: Path):
    (tmp_path / "spec.toml").write_text(block("toml recommend spec"))
    assert read_either(tmp_path / "spec.toml").decision.recommending is not None
    assert_described(SPEC + SECTIONS["Recommending"], [call for call in asked if not OWN_PATHS.search(call.path)])


def test_every_key_of_a_bundle_that_recommends_is_described(asked: list[Asked], shop: Shop):
    boost = Merchandising(action="boost", attribute="colour", value="red", factor=2.0)
    pin = Merchandising(action="pin", items=("atlas",))
    stock(shop, deciding(shop, boost, pin, smart=Strategy(popular=1.0)))
    asked.clear()
    read_bundle(shop.bundle.read_bytes())
    section = "".join(SECTIONS[title] for title in ("Bundle and manifest", "Recommending", "Item table", "Catalogue"))
    calls = [call for call in asked if not OWN_PATHS.search(call.path) and "features" not in call.path]
    assert {call.key for call in calls} >= {"recommending", "successors", "shared", "counts", "factor"}
    assert_described(section, calls)


def test_every_key_of_a_campaign_is_described(asked: list[Asked]):
    guide = (ROOT / "docs" / "merchandiser.md").read_text("utf-8")
    text = re.findall(r"^```toml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)[0]
    grouped = text.replace("ramp = 0.5", 'ramp = 0.5\ngroup = "spring"\nslice = [0, 0.5]')
    running = text.replace(
        'phase = "test"', 'phase = "run"\nchoice = { cold = "none", undecided = "ten_off", hot = "none" }'
    )
    for one in (grouped, running):
        parse_campaign(one.encode())
    assert_described(SECTIONS["Campaign"], asked)


def test_the_example_table_and_consent_are_read(tmp_path: Path):
    spec = parse_spec(block("toml table spec").encode())
    path = tmp_path / spec.source.table
    path.write_text(block("csv table"))
    rows = table_rows(open_backend(), spec, path)
    assert rows.x.tolist() == [[3.0, 1.0], [14.0, 0.0]]
    assert rows.y.tolist() == [False, True]
    assert rows.improve.tolist() == [True, False]
    assert rows.unread == ("note",)
    (tmp_path / "consent.csv").write_text(block("csv consent"))
    consent = read_consent(open_backend(), tmp_path / "consent.csv").to_pyarrow()
    assert consent["improve"].to_pylist() == [True, False]


@pytest.mark.parametrize("name", ["policy.toml", "trips.toml", "generated.toml"])
def test_every_key_of_the_shipped_files_is_described(name: str, asked: list[Asked]):
    data = files("entrenous_exporters.demo").joinpath(name).read_bytes()
    if name == "policy.toml":
        parse_policy(data)
        assert_described(POLICY, asked)
    else:
        parse_spec(data)
        assert_described(SPEC, asked)


def test_every_kind_of_feature_is_described():
    assert rows(SPEC).keys() >= set(KINDS)
    features = [
        'kind = "last"\nevent = "search"\nfield = "brand"\nwindow = 1\nvalues = ["a"]',
        'kind = "recency"\nevent = "search"\nwindow = 1\nunit = "hour"',
        'kind = "days"\nevent = "search"\nwindow = 1',
        'kind = "sum"\nevent = "search"\nfield = "quantity"\nwindow = 1',
        'kind = "context"\nfield = "hour"',
    ]
    text = block("toml spec")
    for i, feature in enumerate(features):
        text += f'\n[[features]]\nname = "f{i}"\n{feature}\npurpose = "personalize"\n'
        text += 'category = "c"\nsource = "s"\nretention_days = 1\n'
    assert len(parse_spec(text.encode()).features) == 9


def test_what_is_made_of_others_is_described_as_the_code_describes_it():
    """But for those that need more words than a line of the module has."""
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", str(interpret.__doc__), re.MULTILINE))
    longer = {"funnel", "mean", "moment", "monetary_score", "ratio", "share"}
    customer = {"alive", "churn", "expected_purchases", "expected_value", "lifetime_value"}
    assert told.keys() | customer == INTERPRETATIONS.keys()
    described = rows(SPEC)
    for kind in told.keys() - longer:
        said = told[kind].replace("`w`", "the window").replace(" * ", " × ")
        assert any(said in line for line in described[kind]), kind


def test_the_example_policy_permits_the_example_specification():
    policy, spec = parse_policy(block("toml policy").encode()), parse_spec(block("toml spec").encode())
    request = Request(
        features=tuple(
            AskedFeature(
                **{key: getattr(one, key) for key in ("name", "purpose", "category", "source", "retention_days")}
            )
            for one in spec.features
        ),
        decisions=(AskedDecision(name=spec.decision.name, purpose=spec.decision.purpose),),
    )
    assert policy.permits(request) == ()


def test_the_example_log_and_moments_are_read(tmp_path: Path):
    spec = parse_spec(block("toml spec").encode())
    for name, kind in ((spec.source.events, "csv events"), (spec.source.moments, "csv moments")):
        (tmp_path / name).write_text(block(kind))
    backend = open_backend()
    assert read_events(backend, tmp_path / spec.source.events).count().to_pyarrow().as_py() == 3
    assert read_moments(backend, tmp_path / spec.source.moments, spec.features).count().to_pyarrow().as_py() == 2


def test_the_example_of_what_was_told_is_read(tmp_path: Path):
    spec = parse_spec(block("toml marker spec").encode())
    (tmp_path / spec.source.attributes).write_text(block("csv attributes"))
    said = read_attributes(open_backend(), tmp_path / spec.source.attributes).to_pyarrow().to_pylist()
    assert [(one["name"], one["value"], one["holds"]) for one in said] == [
        ("told:rhythm", "weekly", None),
        ("told:rhythm", "weekly", False),
        ("imported:tier", "gold", None),
    ]
    assert {"told_rhythm", "known_tier", "purchases_lifetime_value_value_365d_next_90d"} <= {
        feature.name for feature in spec.features
    }
    assert spec.without == {"purchases_affinity_brand_365d": "values"} | dict.fromkeys(spec.without, "values")


def test_every_key_of_a_bundle_is_described(asked: list[Asked]):
    read_bundle(SHIPPED_BUNDLE)
    outer = [call for call in asked if not call.path.startswith("manifest.features[")]
    assert {"format", "manifest", "sha256", "cuts", "holdout", "days"} <= {call.key for call in outer}
    assert_described(BUNDLE, outer)


def test_what_an_encoded_manifest_holds_is_described():
    shipped = read_bundle(SHIPPED_BUNDLE)
    data = encode_bundle(shipped.manifest, shipped.models)
    manifest = unpack(unpack(data, place="", longest=1 << 22)["manifest"], place="", longest=1 << 22)
    (decision,) = manifest["decisions"].values()
    assert rows(BUNDLE).keys() >= {*manifest, *decision, *decision["patterns"][0], *decision["experiment"]}


def test_every_field_of_an_event_is_described_with_its_bound():
    described = rows(SECTIONS["Event"])
    for key in NUMBER_FIELDS:
        assert any(f"integer 0..{LARGEST[key]:,}" in line for line in described[key])
    for key in (*CATEGORY_FIELDS, "id", "transaction_id"):
        assert any(f"text of 1..{LONGEST[key]} characters" in line for line in described[key])
    assert {f"`{name}`" for name in EVENT_NAMES} <= set(re.findall(r"`\w+`", SECTIONS["Event"]))
    assert rows(SECTIONS["Event log and moments files"]).keys() >= {*NUMBER_FIELDS, *CATEGORY_FIELDS, "improve"}


def test_every_attribute_of_a_model_is_described():
    (model,) = read_bundle(SHIPPED_BUNDLE).models.values()
    (node,) = onnx.load_from_string(model).graph.node
    assert rows(SECTIONS["The closed ONNX profile"]).keys() >= {attribute.name for attribute in node.attribute}


def test_every_field_of_a_consent_record_is_described():
    assert rows(SECTIONS["Consent record"]).keys() == {field.name for field in fields(ConsentRecord)}


def test_every_key_of_a_keyring_is_described(tmp_path: Path):
    keyring = Keyring(tmp_path / "keyring", MemoryKeyProvider())
    assert rows(SECTIONS["Keys"]).keys() >= keyring._keys.keys()


def test_the_store_has_the_schema_that_is_printed(tmp_path: Path):
    SQLiteStore(tmp_path / "visitors.db").close()
    with closing(sqlite3.connect(tmp_path / "visitors.db")) as store:
        made = [
            row[0] for row in store.execute("select sql from sqlite_master where sql is not null order by rootpage")
        ]
        assert hex(store.execute("pragma application_id").fetchone()[0]) == "0x656e7472"
    printed = [" ".join(part.split()) for part in block("sql").split(";") if part.strip()]
    assert sorted(" ".join(statement.split()).lower() for statement in made) == sorted(printed)
    columns = {
        column for statement in printed for column in re.findall(r"[(,] ?(\w+) (?:integer|text|blob)", statement)
    }
    assert columns - {"seq"} <= {word for key in rows(SECTIONS["Store"]) for word in key.split(".")}


def test_every_kind_of_audit_entry_is_described():
    assert all(f"`{kind}`" in SECTIONS["Audit log"] for kind in AUDIT_KINDS)


def _limits() -> Iterator[Any]:
    for line in SECTIONS["Limits"].splitlines():
        found = re.fullmatch(r"\| .+ \| ([\d,]+)[^|]* \| `([\w.]+)\.(\w+)` \|", line)
        if found:
            yield pytest.param(int(found[1].replace(",", "")), found[2], found[3], id=found[3])
        else:
            assert not line.startswith("| ") or "constant" in line


@pytest.mark.parametrize(("value", "module", "constant"), list(_limits()))
def test_a_limit_is_the_one_in_the_code(value: int, module: str, constant: str):
    assert getattr(import_module(module), constant) == value


def test_the_limits_that_matter_are_stated():
    stated = {param.values[2] for param in _limits()}
    assert stated >= {
        "BUCKETS",
        "BUNDLE_LIMIT",
        "EVENT_IDS",
        "IDENTIFIER_LIMIT",
        "LARGEST_MODEL",
        "MOST_PATTERNS",
        "MOST_STEPS",
        "POLICY_LIMIT",
        "RECEIPTS",
        "RECEIPT_DAYS",
        "SALT_BYTES",
        "SHARDS",
        "STATE_LIMIT",
        "WRAPPED_BYTES",
    }


SNIPPETS = re.findall(r"^```pycon\n(.*?)^```", FORMATS, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_an_example_gives_what_it_shows(snippet: str):
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(snippet, {}, "formats.md", "docs/formats.md", 0)
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)


def _requirements() -> Iterator[str]:
    project = PROJECT["project"]
    groups = [PROJECT["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (one for group in groups for one in group):
        name = re.split(r"[\[<>=!~; ]", requirement)[0]
        if name != project["name"]:
            yield name


def test_every_requirement_stands_in_the_table_of_dependencies():
    named = rows(DEPENDENCIES.partition("## Considered")[0])
    assert set(_requirements()) == named.keys()


def test_documents_hold_no_address_and_no_path_of_a_machine():
    for text in (FORMATS, DEPENDENCIES):
        assert not re.search(r"https?://|(?<!\w)/(?:home|usr|work|tmp|root)/", text)


def test_payloads_of_the_example_are_json():
    (arm,) = (arm for arm in parse_spec(block("toml spec").encode()).decision.arms.values() if arm.payload)
    assert set(json.loads(arm.payload)) == {"headline"}
