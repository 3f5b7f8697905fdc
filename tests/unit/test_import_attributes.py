"""`entrenous import --attributes`: what another system knows of visitors, under their grant, by row."""

from __future__ import annotations

import json
import re
import shlex
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.shop import DAY, Clock, Shop
from tests.telling import listen

from entrenous.cli import main
from entrenous.importing.attributes import AttributeMapping, exact_number, text_of
from entrenous.importing.mapping import parse_mapping
from entrenous_consent.errors import Malformed

CANARY = "canary-4711@example.org"
GUIDE = (Path(__file__).parents[2] / "docs" / "imports.md").read_text("utf-8")
MAPPING = """
format = 1
kind = "attributes"
visitor = "customer"
time = "since"
time_unit = "seconds"
[fields]
tier = "crm.tier"
spent = ["spent", "crm.spent"]
shoe = "shoe"
[decimals]
spent = 2
"""


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def home(shop: Shop) -> Path:
    listen(shop)
    (shop.home / "columns.toml").write_text(MAPPING)
    with shop.open(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        assert client.visitor(CANARY).consent(client.example_choices).accepted
        assert client.visitor("measured").consent({"measure": True}).accepted
    return shop.home


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]):
    def run(*rows: object, more: tuple[str, ...] = (), form: str = "json") -> Any:
        file = home / "rows.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        place = ["--state", str(home / "state"), "--keys", str(home / "keys"), "--format", form]
        code = main(["import", str(file), "--attributes", str(home / "columns.toml"), *place, *more])
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        if code:
            return code, said.err
        return json.loads(said.out)["data"] if form == "json" else said.out

    return run


def known(clock: Clock, **more: object) -> dict[str, object]:
    return {"customer": CANARY, "since": clock.now - 60, "crm": {"tier": "gold"}} | more


def features(shop: Shop) -> dict[str, Any]:
    with shop.open_as_is(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        return client.visitor(CANARY).export().data["purposes"]["personalize"]["features"]


def test_columns_become_features_and_what_is_left_out_is_told_with_its_row(shop, run, clock):
    told = run(
        known(clock, spent="1234.50"),
        known(clock, customer="stranger"),
        known(clock, customer="measured"),
        known(clock, crm={"tier": "tin-4711"}),
        known(clock, shoe="43"),
        known(clock, customer=""),
        known(clock, since="yesterday"),
        known(clock, since=clock.now + 9_999),
        known(clock, e_mail=CANARY),
        [CANARY],
    )
    rows = {cause: one["rows"] for cause, one in told["passed_over"].items()}
    assert (told["rows"], told["kept"], told["attributes"]) == (10, 2, 8)
    assert rows.pop("consent_missing") == [2, 3]
    assert rows.pop("unlisted") == [4]
    assert rows.pop("unasked") == [5]
    assert rows.pop("known") == [5, 9]
    assert sorted(rows.values()) == [[6], [7], [8], [10]]
    assert "4711" not in json.dumps(told)
    assert told["lacking"] == []
    assert (features(shop)["visit_tier"], features(shop)["visit_spent"]) == ("gold", 1234.5)


def test_what_the_features_still_lack_is_told(run, clock):
    assert run(known(clock))["lacking"] == ["visit_spent"]
    assert run(known(clock, customer="stranger"))["lacking"] == ["visit_tier", "visit_spent"]


def test_only_the_newest_counts_in_whatever_order_it_comes(shop, run, clock):
    old, new = known(clock, since=clock.now - DAY, crm={"tier": "silver"}), known(clock)
    assert run(new, old)["kept"] == 1
    assert features(shop)["visit_tier"] == "gold"


def test_the_same_file_again_changes_nothing_even_after_days(shop, run, clock):
    rows = [known(clock, spent=12.5), known(clock, spent=13, since=clock.now - 90)]
    assert run(*rows)["kept"] == 2
    before = features(shop)
    again = run(*rows)
    assert (again["kept"], again["passed_over"]["known"]["count"]) == (0, 4)
    assert features(shop) == before


def test_a_dry_run_tells_what_would_be_kept_and_keeps_nothing(shop, run, clock):
    rows = [known(clock, spent="9.99"), known(clock, customer="stranger"), known(clock, spent="1 234,5")]
    dry = run(*rows, more=("--dry-run",))
    assert features(shop).get("visit_tier") is None
    wet = run(*rows)
    assert (dry.pop("dry"), wet.pop("dry")) == (True, False)
    assert dry == wet
    assert wet["passed_over"]["spent: is no number"]["rows"] == [3]


def test_it_is_erased_with_its_purpose(shop, run, clock):
    run(known(clock))
    with shop.open_as_is(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        client.visitor(CANARY).consent({"history": True})
        client.visitor(CANARY).consent(client.example_choices)
    assert features(shop).get("visit_tier") is None


def test_no_identifier_and_no_unread_column_lies_in_any_file(shop, run, clock, home):
    run(known(clock, e_mail="other-canary@example.org"))
    (home / "rows.jsonl").unlink()
    held = b"".join(shop.files().values())
    assert CANARY.encode() not in held
    assert b"other-canary" not in held


def test_words_in_both_languages(run, clock):
    rows = known(clock), known(clock, crm={"tier": "tin"})
    assert "1 were kept" in run(*rows, form="text")
    assert "aucune caractéristique n'énumère cette valeur" in run(*rows, form="text", more=("--language", "fr"))


def test_a_mapping_of_events_is_refused_where_attributes_are_asked_for(run, home, clock):
    (home / "columns.toml").write_text(
        'format = 1\nvisitor="v"\nname="n"\ntime="t"\ntime_unit="iso"\nmoney="minor"\n[fields]'
    )
    code, said = run(known(clock))
    assert code == 2
    assert "is a mapping of events" in said


def read(text: str = MAPPING) -> AttributeMapping:
    mapping = parse_mapping(text.encode())
    assert isinstance(mapping, AttributeMapping)
    return mapping


def test_one_time_may_stand_for_every_row():
    mapping = read(MAPPING.replace('time = "since"\ntime_unit = "seconds"', "at = 2026-11-01T00:00:00Z"))
    assert mapping.said({"customer": "v", "spent": ""}).time == 1_793_491_200
    assert mapping.said({"customer": "v", "spent": ""}).values == {}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('time = "since"\n', "", "is missing, or stands beside at"),
        ('time = "since"\n', 'time = "since"\nat = 2026-11-01\n', "is missing, or stands beside at"),
        ('visitor = "customer"', "", "visitor"),
        ('tier = "crm.tier"', '"E-Mail" = "e_mail"', "names what is no short key"),
        ("spent = 2", "spent = 10", "decimals.spent"),
        ("spent = 2", "hat = 2", "hat"),
        ('kind = "attributes"', 'kind = "profiles"', "kind"),
        ('visitor = "customer"', 'visitor = "customer"\nmoney = "minor"', "money"),
    ],
)
def test_a_mapping_that_is_none_is_refused(old, new, what):
    with pytest.raises(Malformed, match=re.escape(what)):
        read(MAPPING.replace(old, new))


def test_a_mapping_without_fields_is_refused():
    with pytest.raises(Malformed, match="1 to 256"):
        read('format = 1\nkind = "attributes"\nvisitor = "v"\nat = 2026-01-01\n[fields]\n')


@pytest.mark.parametrize("value", ["12.50", 12.5, Decimal("12.5000"), "12.5"])
def test_a_number_is_read_exactly(value):
    assert exact_number(value, 2, place="spent") == 12.5


@pytest.mark.parametrize(
    "value",
    ["1 234,5", "1,234.5", "12,5", "1e3", "", "٣", "0x10", "nan", float("inf"), True, None, [1], "12.505", " 1"],
)
def test_what_is_written_otherwise_is_no_number(value):
    with pytest.raises(Malformed) as refused:
        exact_number(value, 2, place="spent")
    assert refused.value.place == "spent"
    assert refused.value.remedy


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1), Decimal(2**53 + 1), 10**400, "1" * 30 + ".5"])
def test_a_number_that_would_become_another_is_refused(value):
    with pytest.raises(Malformed, match="more digits than can be kept"):
        exact_number(value, 2, place="spent")


@pytest.mark.parametrize("value", [2**53, 2**60, -(2**53), 0.1])
def test_a_number_that_stays_itself_is_kept(value):
    assert exact_number(value, 2, place="spent") == value


def test_a_category_is_text_a_whole_number_or_a_truth():
    assert [text_of(one, place="tier") for one in ("gold", 3, True)] == ["gold", "3", "true"]
    with pytest.raises(Malformed):
        text_of(1.5, place="tier")


def test_the_pages_example_is_a_mapping_and_its_command_runs(home, clock, monkeypatch, capsys):
    (example,) = (block for block in re.findall(r"^```toml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE))
    assert read(example).fields.keys() == {"tier", "spent"}
    monkeypatch.chdir(home)
    (home / "columns.toml").write_text(example)
    moment = time.strftime("%Y-%m-%d", time.gmtime(clock.now - DAY))
    (home / "customers.csv").write_text(f"customer_id,updated_at,spent_last_year\n{CANARY},{moment},12.50\n")
    (command,) = [one for one in re.findall(r"^\$ entrenous (.+)$", GUIDE, re.MULTILINE) if "--attributes" in one]
    assert main(shlex.split(command)) == 0
    assert "1 would be kept" in capsys.readouterr().out
