"""`entrenous keys` and `entrenous publish`: from nothing to a runtime that serves, alone and as a ceremony."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.cli import main
from entrenous.updates.fetch import DirectorySource
from entrenous.updates.refresh import Deployment, refresh
from entrenous_exporters.keys import ROLES
from entrenous_exporters.roles import OFFLINE
from tests.repository import BUNDLE, TENANT, bundle_bytes, policy_bytes

DAY = 86_400


def write_bundle(path: Path, version: int, *, research: bool = False) -> Path:
    """Write a bundle that was learnt from this shop's own visitors, valid today."""
    shipped, now = read_bundle(bundle_bytes(version)), int(time.time())
    manifest = replace(shipped.manifest, created=now - DAY, expires=now + 90 * DAY, public_research_data=research)
    path.write_bytes(encode_bundle(manifest, shipped.models))
    return path


class Desk:
    """One person's machine: their keys, and the repository that is carried around."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], keys: str = "keys") -> None:
        self.home, self.keys, self.repository, self._capsys = home, home / keys, home / "repository", capsys

    def run(self, *words: object) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it printed."""
        self._capsys.readouterr()
        where = ["--keys", str(self.keys), "--repository", str(self.repository)]
        code = main([*map(str, words), *where])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def does(self, *words: object) -> str:
        code, out, err = self.run(*words)
        assert (code, err) == (0, "")
        return out

    def refused(self, *words: object) -> str:
        code, _, err = self.run(*words)
        assert code == 2
        assert len(err.splitlines()) == 1
        assert " — " in err
        return err

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.repository.rglob("*") if path.is_file()}

    def names(self, folder: str) -> set[str]:
        return {path.name for path in (self.repository / folder).glob("*")}

    def serving(self, state: str = "state") -> tuple[int, int | None]:
        """Let a runtime refresh; return the versions that serve."""
        root = (self.repository / "metadata" / "1.root.json").read_bytes()
        deployment = Deployment(root=root, tenant=TENANT, bundle=BUNDLE)
        found = refresh(DirectorySource(self.repository), self.home / state, deployment, now=int(time.time()))
        return found.policy.version, found.bundle.manifest.version if found.bundle else None


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one person made alone: keys, a repository with policy 1 and bundle 1 out, and a runtime that took both."""
    home = tmp_path_factory.mktemp("trial")
    where = ["--keys", str(home / "keys"), "--repository", str(home / "repository")]
    (home / "policy.toml").write_bytes(policy_bytes())
    for words in (
        ["keys", "init"],
        ["keys", "sign", "--role", "privacy", str(home / "policy.toml"), "--yes"],
        ["keys", "sign", "--role", "models", str(write_bundle(home / "bundle", 1)), "--yes"],
        ["publish"],
    ):
        assert main([*words, *where]) == 0
    return home


@pytest.fixture
def trial(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    desk = Desk(tmp_path, capsys)
    assert desk.serving() == (1, 1)
    return desk


def test_one_command_makes_a_published_repository(desk: Desk):
    said = desk.does("keys", "init", "--holders", "alice", "bob")
    assert f"published in {desk.repository}" in said
    assert f"deploy runtimes with {desk.repository / 'metadata' / '1.root.json'}" in said
    assert "warning" in said
    assert "medium of its own" in said
    assert {path.stem for path in (desk.keys / "root").iterdir()} == {"alice", "bob"}
    for path in desk.keys.rglob("*.p*"):
        assert path.stat().st_mode & 0o777 == (0o600 if path.suffix == ".pem" else 0o644)
    assert desk.names("pending") == set()
    assert b"PRIVATE" not in b"".join(desk.files().values())
    assert "holds a repository already" in desk.refused("keys", "init")


def test_list_says_who_must_sign_and_until_when(trial: Desk):
    said = trial.does("keys", "list")
    for role in ROLES:
        assert role in said
    for part in ("2 of 2", "1 of 1", "first_holder", "scientist", "dpo", "UTC"):
        assert part in said
    assert "pending" not in said


def test_a_ceremony_of_people_who_never_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Six machines, and a medium that is carried between them with public halves and the repository alone."""
    people = {
        "alice": [("root", "alice"), ("targets", "alice")],
        "bob": [("root", "bob"), ("targets", "bob")],
        "ada": [("models", "ada")],
        "dana": [("privacy", "dana")],
        "server": [("snapshot", "server"), ("timestamp", "server")],
    }
    desks = {who: Desk(tmp_path, capsys, keys=f"machine-{who}") for who in [*people, "desk"]}
    for who, held in people.items():
        for role, name in held:
            code = main(["keys", "add", "--role", role, "--name", name, "--keys", str(desks[who].keys)])
            assert code == 0
    for who in people:
        for path in desks[who].keys.rglob("*.pub"):
            for other in desks.values():
                target = other.keys / path.relative_to(desks[who].keys)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copyfile(path, target)
    said = desks["desk"].does("keys", "init")
    assert not list(desks["desk"].keys.rglob("*.pem"))
    assert "warning" not in said
    assert "nothing shows yet" in said
    assert desks["desk"].names("metadata") == set()
    assert desks["desk"].names("pending") == {f"1.{role}.json" for role in OFFLINE}
    assert "lacks 2 of: " in said
    desks["alice"].does("keys", "sign", "--role", "targets", "--yes")
    said = desks["alice"].does("keys", "sign", "--role", "root", "--yes")
    assert "root: adds bob" in said
    assert "lacks 1 of: bob" in said
    assert desks["alice"].names("metadata") == set()
    assert "holds no key" in desks["bob"].refused("keys", "sign", "--role", "models", "--yes")
    assert "root" in desks["server"].refused("publish")
    desks["dana"].does("keys", "sign", "--role", "privacy", "--yes")
    desks["bob"].does("keys", "sign", "--role", "root", "--yes")
    assert desks["bob"].names("metadata") == {"1.root.json"}
    desks["bob"].does("keys", "sign", "--role", "targets", "--yes")
    desks["ada"].does("keys", "sign", "--role", "models", "--yes")
    assert desks["ada"].names("pending") == set()
    desks["server"].does("publish")
    (tmp_path / "policy.toml").write_bytes(policy_bytes())
    desks["dana"].does("keys", "sign", "--role", "privacy", tmp_path / "policy.toml", "--yes")
    desks["ada"].does("keys", "sign", "--role", "models", write_bundle(tmp_path / "bundle", 1), "--yes")
    desks["server"].does("publish")
    assert desks["server"].serving() == (1, 1)


def test_any_two_of_three_holders_are_enough(desk: Desk):
    desk.does("keys", "init", "--holders", "alice", "bob", "carol")
    for lost in ("root", "targets"):
        (desk.keys / lost / "alice.pem").unlink()
    assert "2 of 3" in desk.does("keys", "list")
    desk.does("keys", "rotate", "--role", "root", "--key", "alice", "--name", "dave")
    said = desk.does("keys", "sign", "--role", "root", "--yes")
    assert "adds dave" in said
    assert "revokes alice" in said
    desk.does("publish")
    assert "2.root.json" in desk.names("metadata")


def test_one_holder_is_not_enough_to_begin(desk: Desk):
    assert main(["keys", "add", "--role", "root", "--name", "alice", "--keys", str(desk.keys)]) == 0
    assert "needs two" in desk.refused("keys", "init")
    assert not desk.repository.exists()


def test_what_is_signed_shows_only_when_published(trial: Desk):
    trial.does("keys", "sign", "--role", "models", write_bundle(trial.home / "b", 2), "--yes")
    assert trial.serving() == (1, 1)
    said = trial.does("publish")
    assert "bundles/demo_promotions, version 2" in said
    assert trial.serving() == (1, 2)


def test_signing_shows_what_is_signed(trial: Desk):
    changed = policy_bytes(2).replace(b"cohort = 20", b"cohort = 25")
    (trial.home / "p").write_bytes(changed)
    said = trial.does("keys", "sign", "--role", "privacy", trial.home / "p", "--yes")
    for part in ("policy of demo_shop, version 2", "changes since version 1", "cohort: 20 → 25", "legal basis consent"):
        assert part in said
    said = trial.does("keys", "sign", "--role", "models", write_bundle(trial.home / "b", 2), "--yes")
    for part in (
        "bundle demo_promotions, version 2",
        "decision promotion",
        "features under personalize",
        "permitted by",
    ):
        assert part in said


def test_nobody_there_to_ask(trial: Desk, monkeypatch: pytest.MonkeyPatch):
    bundle, before = write_bundle(trial.home / "b", 2), trial.files()
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert "--yes" in trial.refused("keys", "sign", "--role", "models", bundle)
        assert "--yes" in trial.refused("keys", "sign", "--role", "root")
    assert trial.files() == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 1), ("", 1), ("yea", 1)])
def test_a_person_at_a_terminal_is_asked(trial: Desk, answer: str, code: int):
    bundle, before = write_bundle(trial.home / "b", 2), trial.files()
    outer, inner = pty.openpty()
    command = [sys.executable, "-c", "import sys; from entrenous.cli import main; sys.exit(main())", "keys", "sign"]
    command += ["--role", "models", str(bundle), "--keys", str(trial.keys), "--repository", str(trial.repository)]
    os.write(outer, f"{answer}\n".encode())
    run = subprocess.run(command, stdin=inner, capture_output=True, text=True, timeout=60)
    os.close(outer)
    os.close(inner)
    assert run.returncode == code, run.stderr
    assert "sign? [y/N]" in run.stdout
    assert run.stdout.index("decision promotion") < run.stdout.index("sign? [y/N]")
    assert (trial.files() != before) == (code == 0)


def test_a_stolen_model_key_is_revoked(trial: Desk):
    stolen = trial.keys / "models" / "scientist.pem"
    trial.does("keys", "add", "--role", "models", "--name", "ada")
    said = trial.does("keys", "revoke", "--role", "models", "--key", "scientist")
    for part in ("models: adds ada", "models: revokes scientist", "lacks 2 of", "have models signed anew"):
        assert part in said
    shutil.move(stolen, trial.home / "thief.pem")
    assert "pending: targets version 2" in trial.does("keys", "list")
    assert "pending: targets version 2" in trial.does("publish")  # nothing changed yet, and it says so
    trial.does("keys", "sign", "--role", "targets", "--yes")
    before = trial.files()
    assert "keys sign --role models" in trial.refused("publish")
    assert "keys sign --role models" in trial.does("keys", "list")
    refused = trial.refused("keys", "sign", "--role", "models", write_bundle(trial.home / "b", 2), "--yes")
    assert "keys sign --role models" in refused
    assert trial.files() == before
    assert "lists bundles/demo_promotions, version 1" in trial.does("keys", "sign", "--role", "models", "--yes")
    trial.does("publish")
    assert trial.serving() == (1, 1)
    shutil.move(trial.home / "thief.pem", stolen)
    (trial.keys / "models" / "ada.pem").rename(trial.home / "ada.pem")
    assert "may not sign" in trial.refused(
        "keys", "sign", "--role", "models", write_bundle(trial.home / "b", 2), "--yes"
    )


def test_a_holder_leaves_and_another_comes(trial: Desk):
    trial.does("keys", "rotate", "--role", "root", "--key", "first_holder", "--name", "carol")
    said = trial.does("keys", "sign", "--role", "root", "--yes")
    assert "waits for `entrenous publish`" in said
    assert "2.root.json" not in trial.names("metadata")
    trial.does("publish")
    assert "2.root.json" in trial.names("metadata")
    assert trial.serving() == (1, 1)
    assert trial.serving("fresh") == (1, 1)
    assert "carol" in trial.does("keys", "list")


def test_an_online_key_is_rotated_without_a_gap(trial: Desk):
    trial.does("keys", "rotate", "--role", "timestamp", "--key", "publisher", "--name", "second")
    trial.does("keys", "sign", "--role", "root", "--yes")
    assert trial.serving() == (1, 1)
    (trial.keys / "timestamp" / "publisher.pem").unlink()
    assert "timestamp" in trial.refused("publish", "--refresh")  # the root that names the new key does not show yet
    assert trial.serving() == (1, 1)
    trial.does("publish")
    trial.does("publish", "--refresh")
    assert trial.serving() == (1, 1)


def test_refresh_renews_the_timestamp_alone(trial: Desk):
    before = trial.files()
    trial.does("publish", "--refresh")
    changed = {name for name, data in trial.files().items() if before.get(name) != data}
    assert changed == {str(trial.repository / "metadata" / "timestamp.json")}
    assert trial.serving() == (1, 1)


def test_metadata_is_renewed_before_it_expires(trial: Desk):
    for role in OFFLINE:
        said = trial.does("keys", "sign", "--role", role, "--yes")
        assert role in ("models", "privacy") or "changes nothing but its version and its expiry" in said
    trial.does("publish")
    assert {"2.root.json", "2.targets.json", "3.models.json", "3.privacy.json"} <= trial.names("metadata")
    assert trial.serving() == (1, 1)


def test_what_is_refused_leaves_everything_as_it_was(trial: Desk):
    before = trial.files()
    sign = ("keys", "sign", "--yes", "--role")
    (trial.home / "old.toml").write_bytes(policy_bytes(1))
    (trial.home / "broken.toml").write_bytes(b"format = 2")
    (trial.home / "large").write_bytes(bytes(5 << 20))
    said = [
        trial.refused(*sign, "models", write_bundle(trial.home / "r", 2, research=True)),
        trial.refused(*sign, "models", trial.home / "bundle"),
        trial.refused(*sign, "models", trial.home / "gone"),
        trial.refused(*sign, "models", trial.home / "large"),
        trial.refused(*sign, "models", write_bundle(trial.home / "b", 2), "--tenant", "another_shop"),
        trial.refused(*sign, "privacy", trial.home / "old.toml"),
        trial.refused(*sign, "privacy", trial.home / "broken.toml"),
        trial.refused(*sign, "root", trial.home / "bundle"),
        trial.refused("keys", "revoke", "--role", "models", "--key", "nobody"),
        trial.refused("keys", "revoke", "--role", "models", "--key", "0" * 64),
        trial.refused("keys", "revoke", "--role", "models", "--key", "scientist"),
        trial.refused("keys", "revoke", "--role", "targets", "--key", "first_holder"),
    ]
    words = ["public research data", "signed already", "is not there", "longer than", "not listed", "signed already"]
    words += ["format", "signs no file", "names no key", "does not have", "threshold", "threshold"]
    for line, word in zip(said, words, strict=True):
        assert word in line
    assert trial.files() == before


def test_no_key_is_ever_printed(trial: Desk):
    secrets = [path.read_text().splitlines()[1] for path in trial.keys.rglob("*.pem")]
    said = trial.does("keys", "list") + trial.does("publish") + trial.refused("keys", "init")
    assert secrets
    assert not [one for one in secrets if one in said]


def test_a_warning_before_metadata_expires(trial: Desk, monkeypatch: pytest.MonkeyPatch):
    later = int(time.time()) + 300 * DAY
    monkeypatch.setattr("entrenous_exporters.key_commands.time.time", lambda: float(later))
    said = trial.does("publish")
    for role in OFFLINE:
        assert f"warning: {role} expires" in said
    assert "warning: timestamp" not in said
