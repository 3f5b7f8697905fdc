"""The publisher's end of the signed road: keys on disk, and the repository."""

from __future__ import annotations

import json
import stat
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner
from tests.repository import DAY, TENANT, Publisher, Runtime, bundle_bytes, pair, policy_bytes, signers
from tests.shop import NOON

from entrenous_consent.errors import Forbidden, Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_exporters.keys import ROLES, load_key, load_keys, make_key
from entrenous_exporters.publish import Lifetimes, Repository


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Publisher, Runtime]:
    return pair(tmp_path)


Shop = tuple[Publisher, Runtime]


def published(publisher: Publisher) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in publisher.directory.rglob("*") if path.is_file()}


# Keys


def test_a_key_comes_back_and_only_its_owner_may_read_it(tmp_path: Path):
    made = make_key(tmp_path / "keys", "models", "ada")
    path = tmp_path / "keys" / "models" / "ada.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    (loaded,) = load_keys(tmp_path / "keys", "models")
    made.public_key.verify_signature(loaded.sign(b"payload"), b"payload")


def test_roles_lie_apart(tmp_path: Path):
    for role in ROLES:
        make_key(tmp_path, role, "ada")
    assert {path.name for path in tmp_path.iterdir()} == set(ROLES)
    assert len({load_keys(tmp_path, role)[0].public_key.keyid for role in ROLES}) == len(ROLES)


def test_a_key_is_never_overwritten(tmp_path: Path):
    make_key(tmp_path, "models", "ada")
    before = (tmp_path / "models" / "ada.pem").read_bytes()
    with pytest.raises(Forbidden):
        make_key(tmp_path, "models", "ada")
    assert (tmp_path / "models" / "ada.pem").read_bytes() == before


@pytest.mark.parametrize(("role", "name"), [("admin", "ada"), ("models", "../ada"), ("models", ""), ("..", "ada")])
def test_names_that_are_no_key(tmp_path: Path, role: str, name: str):
    with pytest.raises(Malformed):
        make_key(tmp_path, role, name)
    assert not list(tmp_path.iterdir())


def test_a_key_that_others_may_read_is_refused(tmp_path: Path):
    make_key(tmp_path, "models", "ada")
    (tmp_path / "models" / "ada.pem").chmod(0o640)
    with pytest.raises(Unavailable, match="others may read"):
        load_keys(tmp_path, "models")


def test_what_is_no_signing_key_is_refused_without_repeating_it(tmp_path: Path):
    path = tmp_path / "x.pem"
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data in (b"", b"secret", other):
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(Malformed) as caught:
            load_key(path)
        assert "secret" not in str(caught.value)


def test_a_key_that_is_not_there(tmp_path: Path):
    with pytest.raises(Missing):
        load_key(tmp_path / "none.pem")
    with pytest.raises(Missing):
        load_keys(tmp_path, "models")


# The repository


def test_what_was_added_shows_only_when_it_is_published(shop: Shop):
    publisher, runtime = shop
    publisher.bundle(2)
    assert runtime.refresh().bundle_bytes == bundle_bytes(1)
    publisher.publish()
    assert runtime.refresh().bundle_bytes == bundle_bytes(2)


def test_files_are_static_and_public(shop: Shop, tmp_path: Path):
    publisher = Publisher(tmp_path / "fresh")
    publisher.policy()
    publisher.release(1)
    files = [path for path in publisher.directory.rglob("*") if path.is_file()]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in files)
    assert publisher.target_file(bundle_bytes(1)).read_bytes() == bundle_bytes(1)
    assert not [path for path in files if path.name.startswith(".")]


def test_each_signs_only_what_is_theirs(shop: Shop):
    publisher, _ = shop
    before = published(publisher)
    repository, keys, now = publisher.repository, publisher.keys, publisher.now
    with pytest.raises(Forbidden, match="may not sign"):
        repository.add_policy(policy_bytes(2), keys["models"], now=now)
    with pytest.raises(Forbidden, match="may not sign"):
        repository.add_bundle(bundle_bytes(2), keys["privacy"], tenant=TENANT, now=now, research=True)
    with pytest.raises(Forbidden, match="may not sign"):
        repository.publish(keys["models"], keys["timestamp"], now=now)
    with pytest.raises(Forbidden, match="may not sign"):
        repository.refresh_timestamp(keys["snapshot"], now=now)
    with pytest.raises(Forbidden, match="may not sign"):
        repository.sign_again("targets", keys["targets"][:1], now=now)
    assert published(publisher) == before


@pytest.mark.parametrize(
    ("version", "changes", "words"),
    [
        (1, {}, "1 is signed already"),
        (2, {"retention": 3000}, "retention_days"),
        (2, {"expires": NOON}, "has expired"),
    ],
)
def test_bundles_that_are_not_published(shop: Shop, version: int, changes: dict[str, int], words: str):
    publisher, _ = shop
    before = published(publisher)
    with pytest.raises(Forbidden, match=words):
        publisher.bundle(version, **changes)
    assert published(publisher) == before


def test_a_bundle_waits_for_its_policy(shop: Shop):
    publisher, _ = shop
    with pytest.raises(Missing):
        publisher.repository.add_bundle(
            bundle_bytes(2), publisher.keys["models"], tenant="another_shop", now=publisher.now, research=True
        )


def test_a_policy_is_not_published_twice_nor_broken(shop: Shop):
    publisher, _ = shop
    with pytest.raises(Forbidden, match="signed already"):
        publisher.policy(1)
    with pytest.raises(Malformed):
        publisher.repository.add_policy(b"format = 2", publisher.keys["privacy"], now=publisher.now)


def test_a_timestamp_is_refreshed_without_a_new_snapshot(shop: Shop):
    publisher, runtime = shop
    runtime.now = publisher.now = publisher.now + 2 * DAY
    with pytest.raises(Unauthentic, match="has expired"):
        runtime.refresh()
    publisher.repository.refresh_timestamp(publisher.keys["timestamp"], now=publisher.now)
    assert runtime.refresh().refused is None


def test_lifetimes_are_the_publishers(tmp_path: Path):
    Repository.create(tmp_path / "r", signers(), now=NOON, lifetimes=Lifetimes(timestamp=60))
    stamp = json.loads((tmp_path / "r" / "metadata" / "timestamp.json").read_bytes())
    assert datetime.fromisoformat(stamp["signed"]["expires"]).timestamp() == NOON + 60


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot"])
def test_a_key_of_the_root_is_rotated_under_a_running_runtime(shop: Shop, role: str):
    publisher, runtime = shop
    old, new = publisher.keys[role], CryptoSigner.generate_ed25519()
    holders = (*publisher.keys["root"], new) if role == "root" else publisher.keys["root"]
    publisher.repository.rotate(
        role, holders, now=publisher.now, add=[new.public_key], revoke=[old[0].public_key.keyid]
    )
    publisher.keys[role] = (*old[1:], new)
    publisher.publish()
    assert runtime.refresh().refused is None
    assert publisher.repository.trusted_root() in runtime.files().values()


@pytest.mark.parametrize("role", ["models", "privacy"])
def test_a_delegated_key_is_rotated_and_its_role_signed_again(shop: Shop, role: str):
    publisher, runtime = shop
    old, new = publisher.keys[role], CryptoSigner.generate_ed25519()
    publisher.repository.rotate(
        role,
        publisher.keys["targets"],
        now=publisher.now,
        add=[new.public_key],
        revoke=[old[0].public_key.keyid],
    )
    with pytest.raises(Forbidden, match="may not sign"):
        publisher.repository.sign_again(role, old, now=publisher.now)
    publisher.repository.sign_again(role, [new], now=publisher.now)
    publisher.publish()
    assert runtime.refresh().refused is None


def test_rotations_that_are_refused(shop: Shop):
    publisher, _ = shop
    before = published(publisher)
    rotate, keys, now = publisher.repository.rotate, publisher.keys, publisher.now
    new = CryptoSigner.generate_ed25519().public_key
    refused: list[tuple[type[Refusal], str, str, dict[str, object]]] = [
        (Forbidden, "models", "targets", {"revoke": ["0" * 64]}),
        (Forbidden, "nobody", "root", {"add": [new]}),
        (Forbidden, "timestamp", "timestamp", {"add": [new]}),
        (Unauthentic, "privacy", "targets", {"add": [keys["models"][0].public_key]}),
        (Unauthentic, "targets", "root", {"revoke": [keys["targets"][0].public_key.keyid]}),
        (Unauthentic, "models", "targets", {"add": [CryptoSigner.generate_ecdsa().public_key]}),
    ]
    for kind, role, holders, change in refused:
        with pytest.raises(kind):
            rotate(role, keys[holders], now=now, **change)  # type: ignore[arg-type]
    assert published(publisher) == before


def test_repositories_that_are_not_made(tmp_path: Path, shop: Shop):
    keys = dict(signers())
    for changed in (
        {**keys, "root": keys["root"][:1]},
        {**keys, "privacy": keys["models"]},
        {**keys, "timestamp": keys["root"][:1]},
        {**keys, "models": ()},
    ):
        with pytest.raises((Missing, Unauthentic)):
            Repository.create(tmp_path / "fresh", changed, now=NOON)
        assert not (tmp_path / "fresh").exists()
    with pytest.raises(Forbidden, match="holds a repository already"):
        Repository.create(shop[0].directory, keys, now=NOON)
