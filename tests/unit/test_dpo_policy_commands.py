"""The DPO's verbs on the policy, on the command line: what they print, what they exit with, what signing refuses."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest
from rich.console import Console
from tests.rules import target
from tests.shop import NOON, Clock, Shop

from entrenous.cli import REFUSED, main
from entrenous_consent.dpo.policy_commands import FOUND
from entrenous_consent.dpo.signable import check_signable
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.policy import parse_policy
from entrenous_exporters.key_commands import Desk, init
from entrenous_exporters.privacy_signing import sign_privacy
from entrenous_exporters.publish import Repository

TEXT = files("entrenous").joinpath("demo/policy.toml").read_text("utf-8")
RECEIPT = (
    '{"id": "ab", "time": 1700000000, "decision": "promotion", "arm": "", "reason": "DEFAULT", "cause": "capped",'
    ' "tranche": "", "bundle": "demo 1", "policy": 1, "consents": {}, "withheld": []}'
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy, one that fails lint, one that widens, and a receipt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(TEXT, "utf-8")
    (tmp_path / "bad.toml").write_text(TEXT.replace('method = "hmac"', 'method = "hash"'), "utf-8")
    wider = TEXT.replace("\nversion = 1", "\nversion = 2").replace("retention_days = 90", "retention_days = 91")
    (tmp_path / "wider.toml").write_text(wider, "utf-8")
    (tmp_path / "receipt.json").write_text(RECEIPT, "utf-8")
    return tmp_path


def run(line: str) -> int:
    return main(["privacy", *line.split()])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("lint policy.toml", "No rule found anything"),
        ("diff policy.toml wider.toml", "kept longer"),
        ("explain policy.toml bought_orders", "Remember past purchases"),
        ("explain policy.toml --receipt receipt.json", "the default was given (capped)"),
        ("register policy.toml --language fr", "Registre des activités de traitement"),
        ("dpia policy.toml", "No model card was given"),
        ("notice policy.toml --format markdown", "# What Demo Shop \\(fictional\\) does"),
        ("report policy.toml", "<!doctype html>"),
        ("report policy.toml --format text", "Data protection report"),
    ],
)
def test_a_verb_prints_what_it_is_asked_for(here, capsys, line, told):
    assert run(line) == 0
    printed = capsys.readouterr().out
    assert told.replace("\\(", "(").replace("\\)", ")") in printed


@pytest.mark.parametrize("form", ["text", "json", "html", "markdown"])
@pytest.mark.parametrize("verb", ["lint", "register", "dpia", "notice", "report"])
def test_every_verb_writes_every_form_to_a_file(here, verb, form):
    assert run(f"{verb} policy.toml --format {form} --language fr --output out") == 0
    text = (here / "out").read_text("utf-8").replace("\\", "")
    assert "Demo Shop" in text or "demo_shop" in text
    assert (json.loads(text)["kind"] if form == "json" else verb) == verb


def test_lint_exits_with_one_where_a_rule_says_error_and_two_where_it_is_refused(here, capsys):
    assert run("lint bad.toml") == FOUND == 1
    assert "unkeyed" in capsys.readouterr().out
    (here / "broken.toml").write_text("format = 1\n")
    for line in ("lint broken.toml", "lint nowhere.toml", "report policy.toml --facts policy.toml"):
        assert run(line) == REFUSED == 2
        error = capsys.readouterr().err
        assert error.startswith("entrenous privacy: ")
        assert " — " in error


def test_a_card_and_facts_are_read_from_their_files(here, capsys):
    card = {
        "format": 1,
        "name": "m",
        "version": 1,
        "data": {"public_research_data": False, "visitors": {"learnt": 10, "judged": 5}},
        "k": {"k": 5},
        "patterns": [{"purposes": ["history"], "quality": {"auc": 0.75}, "price": 0.0}],
    }
    (here / "m.card.json").write_text(json.dumps(card))
    assert run("dpia policy.toml --card m.card.json") == 0
    assert "0.750" in capsys.readouterr().out
    assert run("lint policy.toml --format json --output lint.json") == 0
    assert run("report policy.toml --facts lint.json --facts lint.json") == 0
    assert capsys.readouterr().out.count("No rule found anything") == 2


# What may be signed

POLICY = parse_policy(TEXT.encode())
WIDER = replace(POLICY, version=2, features=(replace(POLICY.features[0], retention_days=31), *POLICY.features[1:]))
BAD = replace(POLICY, identifiers=(replace(POLICY.identifiers[0], method="hash", key_kept="beside"),))


def test_a_policy_without_errors_may_be_signed():
    assert check_signable(None, POLICY, ()) == ()
    assert check_signable(POLICY, replace(POLICY, version=2), ()) == ()


def test_an_error_of_lint_is_signed_only_where_it_is_named():
    with pytest.raises(Forbidden, match=r"lint says ERROR: key_beside, unkeyed") as caught:
        check_signable(None, BAD, ())
    assert "--despite" in caught.value.remedy
    with pytest.raises(Forbidden, match=r"lint says ERROR: unkeyed"):
        check_signable(None, BAD, ["key_beside"])
    assert check_signable(None, BAD, ["unkeyed", "key_beside"]) == ("key_beside", "unkeyed")
    for name in ("cohort", "luck"):
        with pytest.raises(Malformed, match="is not a rule that says ERROR"):
            check_signable(None, POLICY, [name])


def test_a_widening_needs_a_higher_consent_version():
    with pytest.raises(Forbidden) as caught:
        check_signable(POLICY, WIDER, ())
    assert caught.value.place == "purposes.personalize.consent_version"
    raised = replace(POLICY.purposes["personalize"], consent_version=2)
    assert check_signable(POLICY, replace(WIDER, purposes={**WIDER.purposes, "personalize": raised}), ()) == ()


def test_a_purpose_that_was_dropped_comes_back_only_above_the_version_it_had():
    """Records keep what was granted: two policies that are harmless one by one would widen it, and ask nobody."""
    dropped = replace(POLICY, version=2, purposes={k: v for k, v in POLICY.purposes.items() if k != "improve"})
    back = replace(POLICY, version=3)
    assert check_signable(dropped, back, ()) == ()
    with pytest.raises(Forbidden, match="was granted before the purpose was dropped") as caught:
        check_signable(dropped, back, (), (POLICY, dropped))
    assert (caught.value.place, caught.value.remedy) == ("purposes.improve.consent_version", "raise it above 1")
    raised = {**back.purposes, "improve": replace(back.purposes["improve"], consent_version=2)}
    assert check_signable(dropped, replace(back, purposes=raised), (), (POLICY, dropped)) == ()


# Signing


class Signing:
    """A repository with every key in a folder, and a desk that keeps what is said."""

    def __init__(self, home: Path) -> None:
        self.home, self.said, self.answer = home, io.StringIO(), True
        self.places = {"repository": home / "repository", "keys": home / "keys"}
        assert init(argparse.Namespace(**self.places, holders=None), self.desk()) == 0

    def desk(self) -> Desk:
        self.said = io.StringIO()
        return Desk(console=Console(file=self.said, width=200), now=NOON, ask=lambda: self.answer)

    def __call__(self, policy: str, *despite: str, language: str = "en", bundle: Path | None = None) -> int:
        bundles = [] if bundle is None else [bundle]
        options = {"despite": list(despite), "bundle": bundles, "language": language, "yes": False}
        return sign_privacy(argparse.Namespace(policy=self.home / policy, **self.places, **options), self.desk())

    def signed(self) -> int:
        """Return the version of the policy that is signed; 0 for none."""
        try:
            return Repository(self.places["repository"]).policy("demo_shop").version
        except Missing:
            return 0


@pytest.fixture
def sign(here: Path) -> Signing:
    return Signing(here)


def test_what_is_signed_is_shown_first(sign):
    assert sign("policy.toml") == 0
    said = sign.said.getvalue()
    steps = [said.index(one) for one in ("No rule found", "\npolicy of demo_shop, version 1\n", "signed; it shows")]
    assert steps == sorted(steps)
    assert "What changes" not in said
    assert sign.signed() == 1


def test_what_a_bundle_asks_and_decides_by_is_shown_before_the_policy_that_permits_it(sign, here):
    shop = Shop(here, Clock())
    target(shop, "visit_views_7d >= 2", exclude="now.getHours() < 8")
    assert sign("policy.toml", bundle=shop.bundle) == 0
    said = sign.said.getvalue()
    steps = [said.index(one) for one in ("No rule found", "visit_views_7d >= 2", "\npolicy of demo_shop, version 1\n")]
    assert steps == sorted(steps)
    (here / "no.msgpack").write_bytes(b"")
    with pytest.raises(Malformed, match="msgpack"):
        sign("policy.toml", bundle=here / "no.msgpack")


def test_a_widening_is_shown_and_refused_and_signed_once_its_version_is_raised(sign):
    sign("policy.toml")
    with pytest.raises(Forbidden, match=r"purposes.history.consent_version: widens and keeps its consent version"):
        sign("wider.toml", language="fr")
    assert "conservée plus longtemps" in sign.said.getvalue()
    assert sign.signed() == 1
    text = (sign.home / "wider.toml").read_text("utf-8")
    head, _, rest = text.partition("[purposes.history]")
    (sign.home / "wider.toml").write_text(
        f"{head}[purposes.history]{rest.replace('consent_version = 1', 'consent_version = 2', 1)}", "utf-8"
    )
    assert sign("wider.toml") == 0
    assert "everyone who gave it is asked again" in " ".join(sign.said.getvalue().split())
    assert sign.signed() == 2


def test_an_error_is_signed_only_despite_its_rule(sign):
    with pytest.raises(Forbidden, match="lint says ERROR: unkeyed"):
        sign("bad.toml")
    assert sign.signed() == 0
    assert sign("bad.toml", "unkeyed") == 0
    assert "to be signed despite: unkeyed" in sign.said.getvalue()
    assert sign.signed() == 1


def test_dropping_a_purpose_and_taking_it_up_again_asks_everyone_anew(sign):
    head, _, rest = TEXT.partition("[purposes.improve]")
    dropped = head + rest[rest.index("[[reports]]") :]
    for version, text in ((1, TEXT), (2, dropped), (3, TEXT)):
        text = text.replace("\nversion = 1\n", f"\nversion = {version}\n", 1)
        (sign.home / f"{version}.toml").write_text(text, "utf-8")
    targets = sign.home / "repository" / "targets" / "policies"
    assert (sign("1.toml"), sign("2.toml")) == (0, 0)
    (targets / f"{'0' * 64}.demo_shop").write_text("not what its name says", "utf-8")
    broken = b"version ="
    (targets / f"{sha256(broken).hexdigest()}.demo_shop").write_bytes(broken)
    with pytest.raises(Forbidden, match=r"purposes.improve.consent_version: was granted before"):
        sign("3.toml")
    assert sign.signed() == 2


def test_no_is_an_answer(sign):
    sign.answer = False
    assert sign("policy.toml") == 1
    assert sign.signed() == 0


def test_what_was_checked_is_what_is_signed(sign, monkeypatch):
    """The file is another by the time it is signed."""
    checked = check_signable

    def meddled(*given):
        (sign.home / "policy.toml").write_text(TEXT.replace('method = "hmac"', 'method = "none"'), "utf-8")
        return checked(*given)

    monkeypatch.setattr("entrenous_exporters.privacy_signing.check_signable", meddled)
    assert sign("policy.toml") == 0
    assert Repository(sign.places["repository"]).policy_bytes("demo_shop") == TEXT.encode()


def test_sign_is_a_verb_of_the_command_line(here, capsys):
    assert main(["keys", "init", "--keys", "keys", "--repository", "repository"]) == 0
    given = "--keys keys --repository repository"
    assert run(f"sign bad.toml {given} --yes") == REFUSED
    assert "name each with --despite" in capsys.readouterr().err
    assert run(f"sign bad.toml {given} --yes --despite unkeyed --language fr") == 0
    assert "Ce que lint a trouvé" in capsys.readouterr().out
