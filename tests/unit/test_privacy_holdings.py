"""The DPO's verbs about what is held, on the files of a real client."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tests.shop import DAY, Clock, Shop

from entrenous.cli import main
from entrenous.loop.reports import read_report
from entrenous_consent import audit
from entrenous_consent.dpo import host
from entrenous_consent.dpo.consent_receipt import consent_receipt, receipt_schema
from entrenous_consent.policy import parse_policy
from entrenous_consent.records import SALT_BYTES, ConsentRecord

CANARY = "canary-4711@example.org"
OTHER = "canary-4712@example.org"
VERBS = ("export", "erase", "object", "correct", "consent-receipt")


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def home(shop: Shop) -> Path:
    """A folder in which a client ran: a visitor agreed to everything, looked, bought, was given an offer."""
    with shop.open(key_provider=None, public_keys={}, crowd=True, release_seconds=0, sweep_seconds=0) as client:
        client.release()
        visitor = client.visitor(CANARY)
        assert visitor.consent(client.example_choices).accepted
        assert visitor.observe("view_item", category="slippers", price=4900, currency="EUR").accepted
        assert visitor.observe("purchase", value=5000, currency="EUR").accepted
        visitor.decide("promotion", default="none")
    return shop.home


class Piped(io.TextIOWrapper):
    """Standard input that something is piped into."""

    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def run(home, capsys, monkeypatch):
    """Run a verb on the client's files; return its exit code, what it printed and what it complained of."""

    def run(verb: str, *more: str | Path, visitor: bytes | None = None) -> tuple[int, str, str]:
        place = ["--state", str(home / "state")]
        if verb != "egress":
            place += ["--keys", str(home / "keys")]
        given = CANARY.encode() + b"\n" if visitor is None else visitor
        monkeypatch.setattr("sys.stdin", Piped(given))
        code = main(["privacy", verb, *map(str, more), *place])
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        return code, said.out, said.err

    return run


def data_of(answer: tuple[int, str, str]) -> dict[str, Any]:
    assert answer[2] == ""
    return json.loads(answer[1])["data"]


def entries(home: Path) -> list[audit.Entry]:
    with host.opened_store(home / "state") as store:
        return [audit.read_entry(data) for log in store.logs() for data in store.log(log)]


# Export


def test_everything_kept_about_a_visitor_is_told(run):
    told = data_of(run("export", "--format", "json"))
    assert told["consent"]["granted"] == ["history", "improve", "measure", "personalize"]
    assert told["purposes"]["history"]["features"]
    assert [one["decision"] for one in told["purposes"]["personalize"]["receipts"]] == ["promotion"]
    assert told["purposes"]["measure"]["contributions"]["promotion_1"]["decision"] == "promotion"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            ("What is kept about this visitor", "Suit this visit", "granted", "The last decisions", "already added"),
        ),
        ("fr", ("Ce qui est conservé sur ce visiteur", "Adapter cette visite", "accordé", "Les dernières décisions")),
    ],
)
def test_it_is_told_in_words(run, language, said):
    for form in ("text", "markdown", "html"):
        code, out, err = run("export", "--language", language, "--format", form)
        assert (code, err) == (0, "")
        assert all(one in out for one in said)


def test_nothing_is_told_of_whom_nothing_is_known(run):
    assert data_of(run("export", "--format", "json", visitor=b"nobody")) == {}
    assert "On ne sait rien de ce visiteur." in run("export", "--language", "fr", visitor=b"nobody")[1]


def test_a_visitor_who_agreed_and_did_nothing_is_told_that(run, home, shop):
    with shop.open(key_provider=None, public_keys={}) as client:
        assert client.visitor(OTHER).consent({"history": True}).accepted
    code, out, _ = run("export", visitor=OTHER.encode())
    assert code == 0
    assert OTHER not in out
    assert "Remember past purchases" in out
    assert "nothing" in out


# Erase


def test_an_erasure_holds_from_the_next_decision_of_a_running_client(run, shop):
    with shop.open(key_provider=None, public_keys={}) as client:
        assert client.visitor(CANARY).export().data
        assert data_of(run("erase", "--format", "json")) == {"erased": "done", "known": True}
        assert client.visitor(CANARY).export().data == {}
    assert data_of(run("export", "--format", "json")) == {}


def test_an_erasure_of_whom_nothing_is_known_says_so(run):
    code, out, _ = run("erase", visitor=b"nobody")
    assert code == 0
    assert "Nothing was known of this visitor." in out


def test_an_erasure_that_a_reader_delays_is_pending(run, monkeypatch):
    monkeypatch.setattr("entrenous_consent.sqlite.SQLiteStore.scrub", lambda _: "pending")
    code, out, _ = run("erase", "--language", "fr")
    assert code == 1
    assert "[AVERTISSEMENT]" in out
    assert "Recommencez." in out


def test_what_does_not_open_any_more_is_erased_too(run, home):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home / "state" / "visitors.db")) as store:
        store.execute("update records set value = x'00'")
        store.commit()
    assert run("export")[0] == 2
    assert data_of(run("erase", "--format", "json"))["known"]
    assert data_of(run("export", "--format", "json")) == {}


# Object


def test_an_objection_to_one_purpose_leaves_the_others(run):
    told = data_of(run("object", "--purpose", "history", "--format", "json"))
    assert (told["purposes"], told["erased"]) == (["history"], "done")
    assert told["choice"]["refused"] == ["history"]
    assert told["choice"]["granted"] == ["improve", "measure", "personalize"]
    assert set(data_of(run("export", "--format", "json"))["purposes"]) == {"improve", "measure", "personalize"}


def test_an_objection_is_to_everything_unless_it_names_purposes(run, home):
    code, out, _ = run("object", "--language", "fr")
    assert code == 0
    assert "L'opposition vaut dès la prochaine décision" in out
    assert data_of(run("export", "--format", "json"))["consent"]["granted"] == []
    assert "objection" in [entry.kind for entry in entries(home)]


def test_an_objection_that_a_reader_delays_is_pending(run, monkeypatch):
    monkeypatch.setattr("entrenous_consent.sqlite.SQLiteStore.scrub", lambda _: "pending")
    assert run("object")[0] == 1


def test_an_objection_to_no_purpose_of_the_policy_is_refused(run):
    code, out, err = run("object", "--purpose", "elsewhere")
    assert (code, out) == (2, "")
    assert "names a purpose that the policy does not have" in err


# Correct


def kept(run) -> dict[str, Any]:
    return data_of(run("export", "--format", "json"))["purposes"]


def test_a_correction_forgets_what_a_feature_holds(run, home):
    before = kept(run)["history"]["features"]
    name = next(name for name, value in before.items() if value)
    changed = data_of(run("correct", "--forget", name, "--format", "json"))["changed"]
    assert name in changed
    after = kept(run)["history"]["features"]
    assert {one for one in before if before[one] != after[one]} == set(changed)
    correction = next(entry for entry in entries(home) if entry.kind == "correction")
    assert correction.detail["features"] == changed


def test_a_correction_holds_another_category(run):
    assert kept(run)["personalize"]["features"]["visit_taste_30d"] == "slippers"
    known = run("correct", "--set", "visit_taste_30d=elsewhere")[2].rpartition("use one of: ")[2].split(", ")
    other = next(one.strip() for one in known if one.strip() != "slippers")
    assert (
        "visit_taste_30d" in data_of(run("correct", "--set", f"visit_taste_30d={other}", "--format", "json"))["changed"]
    )
    assert kept(run)["personalize"]["features"]["visit_taste_30d"] == other


def test_a_correction_of_what_is_not_kept_changes_nothing(run):
    name = next(iter(kept(run)["history"]["features"]))
    code, out, _ = run("correct", "--forget", name, "--language", "fr", visitor=b"nobody")
    assert code == 0
    assert "rien n'a été modifié" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "expected a map"),
        (["--forget", "elsewhere"], "names no feature that is kept"),
        (["--set", "elsewhere"], "names no feature and category"),
        (["--set", "a=b", "--forget", "a"], "or one twice"),
        (["--set", "elsewhere=x"], "names no feature that is kept"),
    ],
)
def test_a_correction_of_nothing_that_is_kept_is_refused(run, more, said):
    code, out, err = run("correct", *more)
    assert (code, out) == (2, "")
    assert said in err


# Consent receipt


def check(value: Any, schema: dict[str, Any], place: str = "receipt") -> None:
    """Hold a value against a JSON Schema, as far as ours go: any other word in one is a mistake."""
    while "$ref" in schema:
        schema = {**receipt_schema()["$defs"][schema["$ref"].rpartition("/")[2]], **_without(schema, "$ref")}
    known = {"$schema", "$defs", "title", "description", "type", "additionalProperties", "required", "properties"}
    assert set(schema) <= known | {"pattern", "const", "enum", "minimum", "minItems", "items"}, place
    types = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    if "type" in schema:
        wanted = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        assert type(value) in [types[one] for one in wanted], place
    assert "const" not in schema or value == schema["const"], place
    assert "enum" not in schema or value in schema["enum"], place
    if isinstance(value, str):
        assert re.search(schema.get("pattern", ""), value), place
    if isinstance(value, int):
        assert value >= schema.get("minimum", value), place
    if isinstance(value, list):
        assert len(value) >= schema.get("minItems", 0), place
        for i, one in enumerate(value):
            check(one, schema["items"], f"{place}[{i}]")
    if isinstance(value, dict):
        assert schema["additionalProperties"] is False, place
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), place
        for key, one in value.items():
            check(one, schema["properties"][key], f"{place}.{key}")


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_receipt_says_what_was_chosen_and_satisfies_its_schema(run, tmp_path, language):
    told = data_of(
        run("consent-receipt", "--format", "json", "--receipt", tmp_path / "receipt", "--language", language)
    )
    receipt = json.loads((tmp_path / "receipt").read_text())
    assert receipt == told
    check(receipt, receipt_schema())
    titles = {"en": "Suit this visit", "fr": "Adapter cette visite"}
    (purpose,) = [one for one in receipt["purposes"] if one["purpose"] == "personalize"]
    assert (purpose["state"], purpose["consent_version"], purpose["title"]) == ("granted", 1, titles[language])
    assert [one["feature"] for one in purpose["pii_information"]] == ["visit_*", "hour", "weekday"]
    assert receipt["privacy_rights"]["withdraw"] == "/privacy"


def test_a_receipt_leads_to_the_entries_of_its_choice_and_to_nobody_else(run, home, tmp_path):
    run("consent-receipt", "--receipt", tmp_path / "receipt")
    receipt = json.loads((tmp_path / "receipt").read_text())
    mine = [entry.kind for entry in entries(home) if entry.subject.hex() == receipt["pii_principal_id"]]
    assert mine == ["consent.granted"]


def test_a_receipt_is_a_page_that_a_visitor_can_read(run):
    code, out, _ = run("consent-receipt", "--format", "html", "--language", "fr")
    assert code == 0
    for said in (
        "Reçu de consentement",
        "Votre choix",
        "accordé",
        "Comment changer d",
        "consentement",
        "CNIL",
        "Demo Shop",
    ):
        assert said in out


def test_no_receipt_is_made_of_whom_nothing_is_known(run, tmp_path):
    code, out, _ = run("consent-receipt", "--receipt", tmp_path / "receipt", visitor=b"nobody")
    assert code == 0
    assert "Nothing is known of this visitor." in out
    assert not (tmp_path / "receipt").exists()


NOW = 1_790_000_000


def test_a_receipt_tells_every_state_of_a_purpose(shop):
    policy = parse_policy(shop.policy.read_bytes())
    record = ConsentRecord(
        grants={"personalize": (1, NOW + 9), "history": (1, NOW), "measure": (7, NOW + 9)},
        source="app",
        time=NOW - 9,
        expires=NOW + 99,
        salt=bytes(SALT_BYTES),
        refused=("improve",),
    )
    receipt = consent_receipt(record, policy, subject=bytes(32), language="en", now=NOW)
    assert {one["purpose"]: one["state"] for one in receipt["purposes"]} == {
        "personalize": "granted",
        "history": "ended",
        "measure": "widened",
        "improve": "refused",
    }
    check(receipt, receipt_schema())
    asked = ConsentRecord(grants={}, source="app", time=1, expires=NOW + 99, salt=bytes(SALT_BYTES))
    unasked = consent_receipt(asked, policy, subject=bytes(32), language="en", now=NOW)
    assert {one["state"] for one in unasked["purposes"]} == {"not_asked"}
    assert unasked["receipt_id"] != receipt["receipt_id"]


MORE = """
[[recipients]]
name = "Mailer"
contact = "mailer@example.org"

[[transfers]]
country = "US"
recipient = "Mailer"
safeguard = "standard contractual clauses"
"""


def test_a_receipt_names_recipients_and_transfers(shop):
    from entrenous.documents.privacy_documents import receipt_document
    from entrenous_consent.dpo.rendering import render

    policy = parse_policy(shop.policy.read_bytes() + MORE.encode())
    record = ConsentRecord(grants={}, source="app", time=1, expires=NOW, salt=bytes(SALT_BYTES))
    receipt = consent_receipt(record, policy, subject=bytes(32), language="en", now=NOW)
    check(receipt, receipt_schema())
    said = render(receipt_document(receipt, "en"), "text")
    assert "Mailer, mailer@example.org" in said
    assert "US, Mailer, standard contractual clauses" in said


# Retention


def test_retention_tells_the_rule_what_is_held_and_what_goes_next(run, monkeypatch):
    told = data_of(run("retention", "--format", "json"))
    assert told["purposes"]["history"] == {"choice": 180, "features": 90, "bundle": 90}
    assert told["held"]["rows"] > 0
    assert told["held"]["first_ends"] - told["held"]["written_since"] == 180 * DAY
    assert told["next_sweep"] == {"rows": 0, "months": [], "epochs": 0, "rewraps": True}  # never swept yet
    later = int(time.time()) + 1900 * DAY
    monkeypatch.setattr(host, "system_clock", lambda: later)
    after = data_of(run("retention", "--format", "json"))
    assert after["held"] == {"rows": 0, "first_ends": 0, "written_since": 0}
    assert after["next_sweep"] == {
        "rows": told["held"]["rows"],
        "months": [min(told["audit"]["months"])],
        "epochs": 1,
        "rewraps": True,
    }


def test_the_next_sweep_takes_what_retention_says(run, shop, monkeypatch):
    later = int(time.time()) + 1900 * DAY
    monkeypatch.setattr(host, "system_clock", lambda: later)
    told = data_of(run("retention", "--format", "json"))
    shop.clock.now = later
    with shop.open(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        assert client.sweep() == told["next_sweep"]["rows"] > 0
    after = data_of(run("retention", "--format", "json"))
    assert after["next_sweep"] == {"rows": 0, "months": [], "epochs": 0, "rewraps": False}
    assert set(told["audit"]["months"]) - set(after["audit"]["months"]) == set(told["next_sweep"]["months"])


def test_retention_tells_of_reports_that_left(run, released):
    told = data_of(run("retention", "--format", "json"))
    assert told["reports"]["count"] == 2
    assert "the first of them was made" in run("retention")[1]


@pytest.mark.parametrize(("language", "said"), [("en", "What the next sweep takes"), ("fr", "Ce que prendra le")])
def test_retention_is_told_in_words(run, language, said):
    code, out, _ = run("retention", "--language", language)
    assert code == 0
    assert said in out
    assert re.search(r"180 (days|jours)", out)


def test_the_oldest_value_was_written_after_what_retention_says(run, home, shop):
    """The first visitor came at the shop's first moment, another ten days later; then the first is erased."""
    first = shop.clock.now
    shop.clock.now += 10 * DAY
    with shop.open(key_provider=None, public_keys={}) as client:
        assert client.visitor(OTHER).consent(client.example_choices).accepted
    since = data_of(run("retention", "--format", "json"))["held"]["written_since"]
    assert since <= first
    run("erase")
    assert since < data_of(run("retention", "--format", "json"))["held"]["written_since"] <= first + 10 * DAY


# Egress


@pytest.fixture
def released(home, shop) -> list[bytes]:
    """Let the calendar pass until two reports have left; return their bytes."""
    with shop.open(key_provider=None, public_keys={}, crowd=True, release_seconds=0, sweep_seconds=0) as client:
        for days in (60, 30):
            shop.clock.now += days * DAY
            assert client.release().data["reports"]
        return [one.data for one in client.outbox()]


def test_everything_that_left_is_told_byte_for_byte(run, released, tmp_path):
    told = data_of(run("egress", "--raw", tmp_path / "raw", "--format", "json"))
    assert told["bytes"] == sum(map(len, released))
    assert [one["bytes"] for one in told["reports"]] == [len(data) for data in released]
    assert sorted(path.read_bytes() for path in (tmp_path / "raw").iterdir()) == sorted(released)
    assert {path.name for path in (tmp_path / "raw").iterdir()} == {f"{one['id']}.report" for one in told["reports"]}


def test_what_left_is_told_in_words(run, released):
    code, out, _ = run("egress")
    assert code == 0
    report = read_report(released[0])
    assert f"a cell under {report.mechanism.threshold} noisy visitors is hidden" in out
    assert "not yet: it waits here" in out
    assert "Hidden cells, of which nothing left: holdout · not scored;" in out
    code, out, _ = run("egress", "--language", "fr", "--format", "html")
    assert "Ce qui est sorti" in out
    assert "Cellules masquées, dont rien n" in out


def test_a_cell_that_shows_is_told_with_its_sums(run, home, shop):
    with shop.open(key_provider=None, public_keys={}, crowd=True, release_seconds=0, sweep_seconds=0) as client:
        for i in range(300):
            visitor = client.visitor(f"v-{i}")
            assert visitor.consent({"measure": True}).accepted
            visitor.decide("promotion", default="none")
        shop.clock.now += 60 * DAY
        assert client.release().data["reports"]
        (report,) = [read_report(one.data) for one in client.outbox()]
    (cell, sums), *_ = [(cell, sums) for cell, sums in report.cells.items() if sums is not None]
    told = data_of(_told(run))["reports"][0]
    assert [*cell, list(sums)] in told["cells"]
    out = run("egress")[1]
    assert f"{cell[0]} · not scored" in out
    assert f"{sums[0]:,}" in out


def test_what_left_is_told_by_period(run, home, released):
    days = [time.strftime("%Y-%m-%d", time.gmtime(one["made"])) for one in data_of(_told(run))["reports"]]
    first = data_of(_told(run, "--to", days[1]))
    second = data_of(_told(run, "--from", days[1]))
    assert [len(first["reports"]), len(second["reports"])] == [1, 1]
    assert data_of(_told(run, "--from", "2001-01-01", "--to", "2001-01-02"))["reports"] == []


def _told(run, *more: str) -> tuple[int, str, str]:
    return run("egress", *more, "--format", "json")


def test_what_was_handed_to_visitors_is_counted(run):
    assert data_of(_told(run))["exports"] == 0
    run("export")
    assert data_of(_told(run))["exports"] == 1


def test_a_report_that_was_received_is_told_so_and_one_that_does_not_read_is_told_as_bytes(run, home, released):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home / "state" / "visitors.db")) as store:
        store.execute("update outbox set data = x'80', sent = time + 60 where seq = 1")
        store.execute("insert into logs (log, entry) select log, x'80' from logs limit 1")
        store.commit()
    told = data_of(_told(run))["reports"]
    assert [one["readable"] for one in told] == [False, True]
    assert told[0]["received"] == told[0]["made"] + 60
    assert "This version does not read it" in run("egress")[1]


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2026-1"])
def test_what_is_no_day_is_refused(run, day, capsys):
    with pytest.raises(SystemExit):
        run("egress", "--from", day)
    assert "is not a day" in capsys.readouterr().err


# The visitor's identifier


def test_an_identifier_may_come_from_a_file(run, tmp_path, monkeypatch):
    (tmp_path / "visitor").write_bytes(CANARY.encode() + b"\r\n")
    assert data_of(run("export", "--visitor-file", tmp_path / "visitor", "--format", "json", visitor=b""))
    code, _, err = run("export", "--visitor-file", tmp_path / "absent", visitor=b"")
    assert code == 2
    assert "is not there" in err


def test_an_identifier_is_asked_for_at_a_terminal_and_not_shown(home, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Piped(b"", terminal=True))
    monkeypatch.setattr("getpass.getpass", lambda prompt: CANARY)
    place = ["--state", str(home / "state"), "--keys", str(home / "keys"), "--format", "json"]
    assert main(["privacy", "export", *place]) == 0
    assert data_of((0, capsys.readouterr().out, ""))["consent"]


BAD = [b"", b"\n", b"\xff" * 9, b"x" * 513, b"x" * 5000]


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_identifier_is_refused_without_repeating_it(run, home, verb):
    before = len(entries(home))
    for data in BAD:
        code, out, err = run(verb, visitor=data)
        assert (code, out) == (2, "")
        assert "standard input: " in err
        assert "xxx" not in err
    assert len(entries(home)) == before


@pytest.mark.parametrize("verb", VERBS)
def test_an_identifier_on_the_command_line_is_refused_and_not_repeated(run, home, verb):
    before = len(entries(home))
    for wrong in ([CANARY], ["--visitor", CANARY], [f"--visitor={CANARY}"], ["--visitor-file", CANARY]):
        code, out, err = run(verb, *wrong)
        assert (code, out) == (2, "")
        assert "not named on the command line" in err or "--visitor-file: is not there" in err
    assert len(entries(home)) == before


def test_no_identifier_is_in_any_answer_page_error_or_file(run, home, tmp_path):
    """The canary, fed to every verb in every form and language; `run` looks for it in all that is printed."""
    for form in ("text", "json", "html", "markdown"):
        for language in ("en", "fr"):
            asked = ("--format", form, "--language", language)
            for verb in ("export", "consent-receipt", "correct", "retention", "egress", "object"):
                run(verb, *asked, *(["--forget", "bought_count_90d"] if verb == "correct" else []))
            assert run("object", "--purpose", CANARY[:6], *asked)[0] == 2
    run("consent-receipt", "--receipt", tmp_path / "receipt")
    run("erase")
    run("export", "--output", tmp_path / "page.html", "--format", "html")
    for path in [*home.rglob("*"), *tmp_path.rglob("*")]:
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("verb", VERBS)
def test_no_identifier_is_in_what_a_crash_leaves(run, monkeypatch, verb):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY)  # another library's error may repeat what it was handed

    for name in ("rights.export", "rights.choices", "rights.correct", "engine.Engine.erase"):
        monkeypatch.setattr(f"entrenous.{name}", crash)
    monkeypatch.setattr("entrenous_consent.custody.Custody.standing", crash)
    code, out, err = run(verb, *(["--forget", "bought_last_90d"] if verb == "correct" else []))
    assert (code, out) == (70, "")
    assert "failed with RuntimeError at " in err


def test_every_verb_leaves_an_entry_of_its_name(run, home):
    for verb in (*VERBS, "retention", "egress"):
        run(verb, *(["--forget", "nothing"] if verb == "correct" else []))
    seen = [entry.detail["verb"] for entry in entries(home) if entry.kind == "access"]
    assert seen == [*VERBS, "retention", "egress"]


# The host's files


def test_files_that_are_not_there_are_refused_and_none_is_made(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Piped(b"x"))
    copy = tmp_path / "copy"
    for missing, said in (("counters", "counters: is not there"), ("visitors.db", "holds no store")):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(home / "state", copy)
        (copy / missing).unlink()
        place = ["--state", str(copy), "--keys", str(home / "keys")]
        assert main(["privacy", "retention", *place]) == 2
        assert said in capsys.readouterr().err
        assert not (copy / missing).exists()
    shutil.rmtree(copy / "updates")
    assert main(["privacy", "retention", "--state", str(copy), "--keys", str(home / "keys")]) == 2


@pytest.mark.parametrize(
    ("language", "words"), [("en", "opens with no key of ours"), ("fr", "avec aucune de nos clés")]
)
def test_rotating_wraps_every_key_anew_and_a_copy_from_before_opens_no_more(home, run, tmp_path, language, words):
    shutil.copytree(home / "state", tmp_path / "copy")
    told = run("rotate", "--language", language)
    assert told[0] == 0
    assert words in " ".join(told[1].split())
    assert data_of(run("rotate", "--format", "json"))["keys"] == 5
    shutil.rmtree(home / "state")
    shutil.copytree(tmp_path / "copy", home / "state")
    code, _, complaint = run("export")
    assert (code, "its generation was destroyed" in complaint) == (2, True)
