"""Promise 2 on the DPO's command line: a canary is who is asked about, and what strangers send; no verb says it.

Every verb that the command line has stands here, in each form and language, and once more with a fault inside that
repeats what it was handed.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tests.shop import Clock, Shop

from entrenous.cli import FAILED, main
from entrenous_consent.dpo.rendering import FORMATS

CANARY = "canary-ada.lovelace@example.org"
TCF = json.loads((Path(__file__).parents[1] / "vectors" / "tcf.json").read_text())["golden"][1]["text"]
GPP = json.loads((Path(__file__).parents[1] / "vectors" / "gpp.json").read_text())["golden"][0]["text"]
OF_A_VISITOR = ("export", "object", "correct", "consent-receipt", "erase")
OF_A_STORE = ("retention", "rotate", "egress", "audit show", "audit checkpoint", "audit verify", "audit prove")
OF_A_POLICY = ("lint", "register", "dpia", "notice", "report", "diff", "explain")
OF_A_BUNDLE = ("bundle",)
WITHOUT_FORMS = ("sign",)
"""Shown as text alone, since it asks before it signs."""

FAULTS = {
    "entrenous_consent.sqlite.SQLiteStore.read_all": OF_A_VISITOR,
    "entrenous_consent.vault.Vault.unlock": OF_A_VISITOR,
    "entrenous_consent.sqlite.SQLiteStore.transact": OF_A_VISITOR + OF_A_STORE,
    "entrenous_consent.keys.Keyring._load": tuple(one for one in OF_A_VISITOR + OF_A_STORE if one != "egress"),
    "entrenous_consent.dpo.policy_commands.parse_policy": OF_A_POLICY,
    "entrenous.documents.privacy_commands.read_bundle": OF_A_BUNDLE,
    "entrenous_consent.dpo.output.render": OF_A_VISITOR + OF_A_STORE + OF_A_POLICY + OF_A_BUNDLE,
    "entrenous_exporters.privacy_signing.parse_policy": WITHOUT_FORMS,
    "entrenous_exporters.privacy_signing.render": WITHOUT_FORMS,
    "entrenous_exporters.key_commands.sign": WITHOUT_FORMS,
}
"""By what breaks, the verbs that it breaks."""


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def home(shop: Shop) -> Path:
    """A client's folder after a visit by the canary, with everything they may send, good and bad."""
    with shop.open(key_provider=None, public_keys={}, sweep_seconds=0, flush_seconds=0) as client:
        visitor = client.visitor(CANARY)
        for signal in ({"tcf": CANARY}, {"gpp": CANARY}, {"tcf": TCF + CANARY}, {"consent_mode": {CANARY: CANARY}}):
            assert not visitor.signal(signal).accepted
        assert not visitor.signal({"consent_mode": {"ad_storage": "granted"}, "cmp": CANARY}).accepted
        for signal in ({"tcf": TCF}, {"gpp": GPP}):
            visitor.signal(signal)
        assert visitor.consent(client.example_choices).accepted
        visitor.observe("view_item", category=CANARY, brand=CANARY, id=CANARY)
        visitor.observe("purchase", transaction_id=CANARY, value=1, currency="EUR")
        visitor.decide("promotion", "none", {CANARY: CANARY})
        visitor.decide("promotion", "none")
        visitor.correct({CANARY: CANARY})
        visitor.object([CANARY])
    return shop.home


def arguments(verb: str, home: Path) -> list[str]:
    """Return a verb with what it needs."""
    files = ["--state", str(home / "state"), "--keys", str(home / "keys")]
    policy = str(home / "policy.toml")
    more = {
        "egress": files[:2],
        "correct": [*files, "--forget", "visit_taste_30d"],
        "audit verify": [*files, "--checkpoint", str(home / "note.checkpoint")],
        "audit checkpoint": [str(home / "note.checkpoint"), *files],
        "audit prove": [str(home / "proof"), *files, "--entry", "1"],
        "sign": [policy, "--keys", str(home / "signing"), "--repository", str(home / "signed"), "--yes"],
        "diff": [policy, policy],
        "explain": [policy, "visit_taste_30d"],
        "bundle": [policy, str(home / "bundle.msgpack")],
    }
    return ["privacy", *verb.split(), *more.get(verb, files if verb in OF_A_VISITOR + OF_A_STORE else [policy])]


@pytest.fixture
def said(capsys, caplog, monkeypatch):
    """Run a command with the canary on standard input; return its exit code and everything it said anywhere."""
    caplog.set_level(logging.DEBUG)

    def run(command: list[str]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CANARY.encode() + b"\n")))
        code = main(command)
        spoken = capsys.readouterr()
        return code, spoken.out + spoken.err + caplog.text

    return run


def forbidden() -> list[str]:
    """What may stand nowhere: the identifier and the strings, whole or begun."""
    return [CANARY, CANARY[:12], TCF, TCF[:24], GPP, GPP[:24]]


def test_every_verb_of_the_command_line_is_here():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    for point in entry_points(group="entrenous.privacy"):
        point.load()(verbs)
    known = OF_A_VISITOR + OF_A_STORE + OF_A_POLICY + OF_A_BUNDLE + WITHOUT_FORMS
    assert set(verbs.choices) == {verb.split()[0] for verb in known}
    [actions] = [one.choices for one in verbs.choices["audit"]._actions if isinstance(one.choices, dict)]
    assert {f"audit {action}" for action in actions} == {verb for verb in known if verb.startswith("audit ")}


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("form", FORMATS)
def test_no_verb_says_who_was_asked_about(home, said, form, language):
    assert said(arguments("audit checkpoint", home))[0] == 0
    for verb in (*OF_A_POLICY, *OF_A_BUNDLE, *OF_A_STORE, *OF_A_VISITOR):
        command = arguments(verb, home)
        if verb != "audit checkpoint":
            command += ["--format", form, "--language", language]
        code, spoken = said(command)
        assert code in ((0, 1) if verb == "lint" else (0,)), (verb, spoken)
        assert [word for word in forbidden() if word in spoken] == [], verb


def test_signing_says_nobody(home, said):
    init = ["keys", "init", "--keys", str(home / "signing"), "--repository", str(home / "signed")]
    assert said(init)[0] == 0
    for language in ("en", "fr"):
        code, spoken = said([*arguments("sign", home), "--language", language])
        assert code == (0 if language == "en" else 2), spoken  # the second is signed already
        assert [word for word in forbidden() if word in spoken] == []


def test_every_verb_is_broken_by_some_fault():
    assert {verb for verbs in FAULTS.values() for verb in verbs} == {
        *(OF_A_VISITOR + OF_A_STORE + OF_A_POLICY + OF_A_BUNDLE + WITHOUT_FORMS)
    }


@pytest.mark.parametrize("target", FAULTS)
def test_a_fault_inside_says_where_and_nothing_it_was_handed(home, said, monkeypatch, target):
    def broken(*handed: object, **more: object) -> None:
        raise ValueError(f"invalid literal: {CANARY} {TCF}")

    said(arguments("audit checkpoint", home))
    said(["keys", "init", "--keys", str(home / "signing"), "--repository", str(home / "signed")])
    monkeypatch.setattr(target, broken)
    for verb in FAULTS[target]:
        code, spoken = said([*arguments(verb, home), *(["--keys", str(home / "keys")] if verb == "audit show" else [])])
        assert code == FAILED, (verb, spoken)
        assert "ValueError at " in spoken
        assert [word for word in forbidden() if word in spoken] == [], verb


def test_nothing_on_disk_is_the_canary(home):
    everything = b"\0".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert [word for word in forbidden() if word.encode() in everything] == []


@pytest.mark.parametrize("verb", OF_A_VISITOR)
def test_an_identifier_on_the_command_line_is_refused_and_not_repeated(home, said, verb, capsys):
    code, spoken = said([*arguments(verb, home), CANARY])
    assert code == 2
    assert CANARY not in spoken
