"""`entrenous privacy audit` on the files of a real client."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.shop import Clock, Shop

from entrenous.cli import main
from entrenous_consent import audit
from entrenous_consent.dpo import host
from entrenous_consent.dpo.words import read_catalog
from entrenous_consent.keys import FileKeyProvider

CANARY = "canary-4711@example.org"
CATALOG = Path(audit.__file__).parents[1] / "dpo" / "catalog" / "audit.toml"


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def home(shop: Shop) -> Path:
    """A folder in which a client ran: a visitor agreed, was shown something, withdrew and was erased."""
    with shop.open(key_provider=None) as client:
        visitor = client.visitor(CANARY)
        assert visitor.consent(client.example_choices).accepted
        assert visitor.export().accepted
        assert visitor.consent({}).accepted
        assert visitor.erase().accepted
    return shop.home


@pytest.fixture
def run(home, capsys):
    """Run a verb on the client's files; return its exit code, what it printed and what it complained of."""

    def run(action: str, *more: str | Path, keys: bool = True, state: bool = True) -> tuple[int, str, str]:
        place = ["--state", str(home / "state")] if state else []
        place += ["--keys", str(home / "keys")] if keys else []
        code = main(["privacy", "audit", action, *map(str, more), *place])
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        return code, said.out, said.err

    return run


def data_of(answer: tuple[int, str, str]) -> dict:
    assert answer[2] == ""
    return json.loads(answer[1])["data"]


def kinds(run) -> list[str]:
    return [one["kind"] for one in data_of(run("show", "--format", "json"))["entries"]]


def rewrite(home: Path, *statements: str) -> None:
    """Change the log as somebody who can write the store would."""
    with closing(sqlite3.connect(home / "state" / "visitors.db")) as store:
        for statement in statements:
            store.execute(statement)
        store.commit()


# Show


def test_the_log_is_shown_in_words_and_the_reading_of_it_is_in_the_log(run):
    code, out, _ = run("show")
    assert code == 0
    for said in ("a policy or bundle came into force", "consent was withdrawn", "a visitor was erased"):
        assert said in out
    assert "an operator read the store" in out
    assert re.search(r"SHA-256 of the policy: [0-9a-f]{12}…", out)
    assert kinds(run)[-2:] == ["access", "access"]


def test_the_log_is_shown_in_french(run):
    code, out, _ = run("show", "--language", "fr", "--format", "html")
    assert code == 0
    assert '<html lang="fr">' in out
    assert "un visiteur a été effacé" in out
    assert "Journal d" in out


def test_the_log_is_shown_by_kind_and_by_number(run):
    shown = data_of(run("show", "--format", "json", "--kind", "erasure"))
    assert [one["kind"] for one in shown["entries"]] == ["erasure"]
    assert shown["total"] > 1
    last = data_of(run("show", "--format", "json", "--last", "1"))
    assert [(one["kind"], one["entry"]) for one in last["entries"]] == [("access", last["total"])]
    everything = data_of(run("show", "--format", "json", "--last", "0"))
    assert len(everything["entries"]) == everything["total"]


def test_the_log_is_shown_without_keys(run):
    assert data_of(run("show", "--format", "json", keys=False))["key"] == ""


def test_a_kind_that_never_happened_shows_an_empty_page(run):
    code, out, _ = run("show", "--kind", "message", "--format", "markdown")
    assert code == 0
    assert "0 of the" in out


def test_an_entry_that_does_not_read_is_shown_as_such(run, home):
    rewrite(home, "update logs set entry = x'01' where seq = 2")
    shown = data_of(run("show", "--format", "json"))
    assert shown["entries"][1] == {"entry": 2, "readable": False}
    assert "an entry that this version does not read" in run("show")[1]
    assert data_of(run("show", "--format", "json", "--kind", "export"))["entries"]


def test_a_month_that_is_not_held_is_refused(run):
    code, out, err = run("show", "--month", "2001-01")
    assert (code, out) == (2, "")
    assert f"is not a month that is held — take {audit.log_name(int(time.time()))[6:]}" in err


@pytest.mark.parametrize("number", ["-1", "x", "1e3", "9999999999"])
def test_what_is_no_number_is_refused(run, number, capsys):
    with pytest.raises(SystemExit):
        run("show", f"--last={number}")
    assert "is not a number" in capsys.readouterr().err


# Checkpoint and verify


def test_a_log_that_only_grew_verifies_against_its_checkpoint(run, tmp_path):
    signed = data_of(run("checkpoint", tmp_path / "note", "--format", "json"))
    assert signed["files"] == [str(tmp_path / "note"), str(tmp_path / "note.leaves")]
    assert (tmp_path / "note").read_text().startswith(signed["key"].partition("+")[0] + "/")
    assert kinds(run)[-2:] == ["access", "access"]
    for more in (["--key", signed["key"]], []):
        found = data_of(run("verify", "--checkpoint", tmp_path / "note", "--format", "json", *more, keys=not more))
        assert (found["verified"], found["failure"]) == (True, None)
        assert found["checkpoint"] == {name: signed[name] for name in ("log", "size", "root")}
    assert kinds(run)[-1] == "access"


CHANGES = {
    "edited": ("update logs set entry = entry || x'00' where seq = 3", 3, "changed"),
    "deleted": ("delete from logs where seq = 3", 3, "removed"),
    "cut": ("delete from logs where seq >= 3", 3, "ended"),
    "inserted": (
        "update logs set seq = -seq where seq >= 3; update logs set seq = 1 - seq where seq < 0; "
        "insert into logs select 3, log, x'c0' from logs where seq = 1",
        3,
        "inserted",
    ),
    "swapped": (
        "update logs set seq = -1 where seq = 2; update logs set seq = 2 where seq = 4; "
        "update logs set seq = 4 where seq = -1",
        2,
        "moved",
    ),
    "emptied": ("delete from logs", 1, "missing"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_log_is_told_with_the_first_entry_that_fails(run, home, tmp_path, change):
    statements, entry, what = CHANGES[change]
    run("checkpoint", tmp_path / "note")
    rewrite(home, *statements.split("; "))
    code, out, _ = run("verify", "--checkpoint", tmp_path / "note", "--format", "json")
    failure = json.loads(out)["data"]["failure"]
    assert (code, failure["entry"], failure["what"]) == (1, entry, what)
    assert failure["log"] == audit.log_name(int(time.time()))


def test_a_changed_log_is_told_in_words(run, home, tmp_path):
    run("checkpoint", tmp_path / "note")
    rewrite(home, "delete from logs where seq = 3")
    code, out, _ = run("verify", "--checkpoint", tmp_path / "note")
    assert code == 1
    assert "[ERROR] The log is not what it was." in out
    assert re.search(r"entry +3\n", out)
    assert "it was removed" in out
    code, out, _ = run("verify", "--checkpoint", tmp_path / "note", "--language", "fr")
    assert code == 1
    assert "elle a été supprimée" in out


def test_without_the_leaf_hashes_a_change_is_told_and_not_its_place(run, home, tmp_path):
    run("checkpoint", tmp_path / "note")
    (tmp_path / "note.leaves").unlink()
    assert data_of(run("verify", "--checkpoint", tmp_path / "note", "--format", "json"))["verified"]
    rewrite(home, "delete from logs where seq = 3")
    code, out, _ = run("verify", "--checkpoint", tmp_path / "note", "--format", "json")
    failure = json.loads(out)["data"]["failure"]
    assert (code, failure["what"], failure["entry"]) == (1, "differs", None)
    assert "some entry of the month" in run("verify", "--checkpoint", tmp_path / "note")[1]


def test_without_a_checkpoint_the_seals_are_held_to_and_the_limit_is_said(run, home):
    code, out, _ = run("verify")
    assert code == 0
    assert "Every month seals the one before it." in out
    assert "goes unseen" in out
    rewrite(home, "update logs set log = 'audit 2001-01' where seq < 3")
    code, out, _ = run("verify", "--format", "json")
    assert (code, json.loads(out)["data"]["failure"]["what"]) == (1, "unsealed")


def test_the_policy_says_how_long_months_are_kept(run, home, monkeypatch, tmp_path):
    policy = tmp_path / "short.toml"
    text = (home / "policy.toml").read_text("utf-8")
    policy.write_text(text.replace("audit_retention_days = 1830", "audit_retention_days = 30"), "utf-8")
    later = int(time.time()) + 70 * 86_400
    monkeypatch.setattr(host, "system_clock", lambda: later)
    run("show")
    with host.opened_store(home / "state") as store:
        from entrenous_consent.store import Append, Drop

        first = store.logs()[0]
        detail = audit.summary(first, store.log(first))
        entry = audit.entry("audit.dropped", time=later, subject=b"", detail=detail)
        store.transact([Append(audit.log_name(later), entry), Drop(first)], now=later, durable=True)
    assert run("verify")[0] == 1
    assert run("verify", "--policy", policy)[0] == 0


def test_a_checkpoint_of_another_store_is_refused(run, tmp_path):
    held = {"audit 2026-11": [audit.entry("erasure", time=1, subject=b"", detail={"policy": 1})]}
    note = audit.sign_checkpoint(audit.checkpoint_of(held), bytes(32))
    (tmp_path / "note").write_text(note)
    code, out, err = run("verify", "--checkpoint", tmp_path / "note")
    assert (code, out) == (2, "")
    assert "is not signed by this key" in err


def test_leaf_hashes_that_are_not_the_checkpoints_are_refused(run, tmp_path):
    run("checkpoint", tmp_path / "old")
    run("checkpoint", tmp_path / "new")
    shutil.copy(tmp_path / "old.leaves", tmp_path / "new.leaves")
    code, _, err = run("verify", "--checkpoint", tmp_path / "new")
    assert code == 2
    assert "are not what the checkpoint is about" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "names neither a store nor a proof"),
        (["--proof", "absent"], "names no key"),
        (["--proof", "absent", "--key", "x"], "is not a verifier key"),
    ],
)
def test_a_verification_of_nothing_is_refused(run, more, said):
    code, _, err = run("verify", *more, keys=False, state=False)
    assert code == 2
    assert said in err


# Proofs


def test_whoever_has_the_key_alone_verifies_a_proof(run, tmp_path):
    proved = data_of(run("prove", tmp_path / "proof", "--entry", "2", "--format", "json"))
    assert proved["entry"] == "2"
    key = data_of(run("show", "--format", "json"))["key"]
    found = data_of(
        run("verify", "--proof", tmp_path / "proof", "--key", key, "--format", "json", keys=False, state=False)
    )
    assert found["verified"]
    assert found["entry"]["kind"] == "consent.granted"
    code, out, _ = run(
        "verify", "--proof", tmp_path / "proof", "--key", key, "--language", "fr", keys=False, state=False
    )
    assert code == 0
    assert "Cette entrée figure dans le journal." in out


def test_whoever_has_an_earlier_checkpoint_verifies_that_the_log_only_grew(run, tmp_path):
    key = data_of(run("checkpoint", tmp_path / "note", "--format", "json"))["key"]
    proved = data_of(run("prove", tmp_path / "proof", "--since", tmp_path / "note", "--format", "json"))
    assert int(proved["after"]) == int(proved["before"]) + 1
    asked = ("verify", "--proof", tmp_path / "proof", "--checkpoint", tmp_path / "note", "--key", key)
    assert data_of(run(*asked, "--format", "json", keys=False, state=False))["before"] == int(proved["before"])
    assert "nothing in it was changed" in run(*asked, keys=False, state=False)[1]


def test_a_changed_proof_is_refused(run, tmp_path):
    run("prove", tmp_path / "proof", "--entry", "1")
    text = (tmp_path / "proof").read_text()
    (tmp_path / "proof").write_text(text.replace("index 0", "index 1"))
    code, _, err = run("verify", "--proof", tmp_path / "proof", state=False)
    assert code == 2
    assert "does not show that this entry is in the log" in err


def test_a_proof_of_the_other_kind_says_what_it_is_and_how_it_is_verified(run, tmp_path):
    run("checkpoint", tmp_path / "note")
    run("prove", tmp_path / "growth", "--since", tmp_path / "note")
    run("prove", tmp_path / "entry", "--entry", "1")
    code, _, err = run("verify", "--proof", tmp_path / "growth", state=False)
    assert code == 2
    assert "growth: is a proof that a log only grew — give the earlier checkpoint" in err
    code, _, err = run("verify", "--proof", tmp_path / "entry", "--checkpoint", tmp_path / "note", state=False)
    assert code == 2
    assert "entry: is a proof that an entry is in a log — verify it without a checkpoint" in err


def test_a_checkpoint_of_a_month_that_went_is_told_with_the_months_that_are_held(run, home, tmp_path, monkeypatch):
    run("checkpoint", tmp_path / "note")
    later = int(time.time()) + 70 * 86_400
    monkeypatch.setattr(host, "system_clock", lambda: later)
    run("show")
    rewrite(home, f"delete from logs where log <> '{audit.log_name(later)}'")
    code, _, err = run("prove", tmp_path / "proof", "--since", tmp_path / "note")
    assert code == 2
    assert f"note: is about a month that is not held any more — give a checkpoint of {audit.log_name(later)[6:]}" in err


def test_nothing_is_proved_of_an_entry_that_is_not_there(run, tmp_path):
    for number in ("0", "9999"):
        code, _, err = run("prove", tmp_path / "proof", "--entry", number)
        assert code == 2
        assert "take a number that audit show gives" in err
    assert not (tmp_path / "proof").exists()


def test_no_growth_is_proved_of_a_log_that_was_rewritten(run, home, tmp_path):
    run("checkpoint", tmp_path / "note")
    rewrite(home, "delete from logs where seq = 3")
    code, _, err = run("prove", tmp_path / "proof", "--since", tmp_path / "note")
    assert code == 2
    assert "is not what that checkpoint is about" in err
    rewrite(home, "delete from logs where seq > 3")
    assert run("prove", tmp_path / "proof", "--since", tmp_path / "note")[0] == 2


# The host's files


def test_a_folder_without_a_store_is_refused_and_left_as_it_is(run, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["privacy", "audit", "show", "--state", str(empty)]) == 2
    assert "holds no store" in capsys.readouterr().err
    assert list(empty.iterdir()) == []


def test_a_folder_without_keys_is_refused_and_left_as_it_is(run, home, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    place = ["--state", str(home / "state"), "--keys", str(empty)]
    assert main(["privacy", "audit", "checkpoint", str(tmp_path / "note"), *place]) == 2
    assert "keyring: is not there" in capsys.readouterr().err
    shutil.copy(home / "keys" / "keyring", empty / "keyring")
    assert main(["privacy", "audit", "checkpoint", str(tmp_path / "note"), *place]) == 2
    assert "root.key: is not there" in capsys.readouterr().err
    assert [path.name for path in empty.iterdir()] == ["keyring"]


def test_a_root_key_may_come_from_the_environment(run, home, tmp_path, monkeypatch):
    root = FileKeyProvider(home / "keys" / "root.key").root()
    (home / "keys" / "root.key").unlink()
    monkeypatch.setenv("SHOP_ROOT_KEY", root.hex())
    assert run("checkpoint", tmp_path / "note", "--root-key", "environment:SHOP_ROOT_KEY")[0] == 0
    assert not (home / "keys" / "root.key").exists()


def test_a_root_key_that_is_nowhere_is_refused(run, tmp_path):
    code, _, err = run("checkpoint", tmp_path / "note", "--root-key", "under the mat")
    assert code == 2
    assert "write file, environment:VARIABLE or keyring:SERVICE" in err


def test_a_document_goes_where_it_is_told(run, tmp_path):
    code, out, _ = run("show", "--output", tmp_path / "log.html", "--format", "html")
    assert (code, out) == (0, "")
    assert (tmp_path / "log.html").read_text().startswith("<!doctype html>")


# Words


def test_there_are_words_for_every_kind_and_every_detail():
    sentences = read_catalog(CATALOG.read_text("utf-8"))
    keys = {key.removesuffix("?") for detail in audit.DETAILS.values() for key in detail}
    assert {f"kind.{kind}" for kind in audit.KINDS} <= sentences.keys()
    assert {f"key.{key}" for key in keys} == {key for key in sentences if key.startswith("key.")}
