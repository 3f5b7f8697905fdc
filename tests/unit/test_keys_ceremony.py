"""Signatures gathered apart: what is proposed, signed, put in its place, and shown only when runtimes would take it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tests.repository import (
    BUNDLE_PATH,
    DAY,
    POLICY_PATH,
    TENANT,
    Publisher,
    Runtime,
    bundle_bytes,
    pair,
    policy_bytes,
    signers,
)
from tests.shop import NOON
from tuf.api.metadata import Metadata

from entrenous.updates.fetch import DirectorySource
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unauthentic, Unavailable
from entrenous_exporters.keys import find_key, load_keys, make_key, own_id, public_keys, read_public
from entrenous_exporters.publish import Repository
from entrenous_exporters.roles import OFFLINE

Shop = tuple[Publisher, Runtime]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return pair(tmp_path)


@pytest.fixture
def begun(tmp_path: Path) -> Repository:
    return Repository.begin(tmp_path / "begun", publics(signers()), now=NOON)


def publics(held: Mapping[str, tuple[CryptoSigner, ...]]) -> dict[str, list[SSlibKey]]:
    return {role: [signer.public_key for signer in several] for role, several in held.items()}


def in_place(repository: Repository) -> set[str]:
    return {path.name for path in (repository.directory / "metadata").glob("*")}


def waiting(repository: Repository) -> set[str]:
    return {path.name for path in (repository.directory / "pending").glob("*")}


def published(repository: Repository) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in repository.directory.rglob("*") if path.is_file()}


# Public halves


def test_a_public_half_is_public_and_belongs_to_its_key(tmp_path: Path):
    made = make_key(tmp_path, "root", "alice")
    path = tmp_path / "root" / "alice.pub"
    assert path.stat().st_mode & 0o777 == 0o644
    assert b"PRIVATE" not in path.read_bytes()
    assert read_public(path).keyid == made.public_key.keyid == own_id(made.public_key)


def test_public_halves_are_enough_to_name_holders(tmp_path: Path):
    ids = {name: make_key(tmp_path, "root", name).public_key.keyid for name in ("alice", "bob")}
    (tmp_path / "root" / "alice.pem").unlink()  # on another machine
    (tmp_path / "root" / "bob.pub").unlink()  # made before there were public files
    assert {name: key.keyid for name, key in public_keys(tmp_path, "root").items()} == ids
    assert find_key(tmp_path, "root", "alice") == ids["alice"]
    assert find_key(tmp_path, "root", ids["bob"]) == find_key(None, "root", ids["bob"]) == ids["bob"]
    with pytest.raises(Missing):
        find_key(tmp_path, "root", "carol")
    assert len(load_keys(tmp_path, "root")) == 1


def test_a_public_half_that_is_of_another_key(tmp_path: Path):
    make_key(tmp_path, "root", "alice")
    make_key(tmp_path, "root", "mallory")
    (tmp_path / "root" / "mallory.pub").rename(tmp_path / "root" / "alice.pub")
    with pytest.raises(Unauthentic, match="not the other half"):
        public_keys(tmp_path, "root")


def test_a_key_is_not_made_beside_a_public_half_of_that_name(tmp_path: Path):
    make_key(tmp_path, "root", "alice")
    (tmp_path / "root" / "alice.pem").unlink()
    with pytest.raises(Forbidden):
        make_key(tmp_path, "root", "alice")
    assert not (tmp_path / "root" / "alice.pem").exists()


def test_what_is_no_public_key(tmp_path: Path):
    path = tmp_path / "x.pub"
    secret = CryptoSigner.generate_ed25519().private_bytes
    ecdsa = CryptoSigner.generate_ecdsa().public_key.keyval["public"].encode()
    small = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA" + b"AQ" + b"A" * 41 + b"=\n-----END PUBLIC KEY-----\n"
    for data in (b"", b"x", secret, ecdsa, small):
        path.write_bytes(data)
        with pytest.raises(Malformed):
            read_public(path)


# The first metadata


def test_a_repository_begins_without_a_private_key(begun: Repository):
    assert in_place(begun) == set()
    assert waiting(begun) == {f"1.{role}.json" for role in OFFLINE}
    for role in OFFLINE:
        pending = begun.pending(role)
        assert pending is not None
        assert (pending.signed, pending.ready) == ((), False)


@pytest.mark.parametrize("order", [OFFLINE, OFFLINE[::-1]])
def test_nothing_half_signed_is_ever_in_place(begun: Repository, order: tuple[str, ...], tmp_path: Path):
    """Each holder signs apart, in any order."""
    keys = signers()
    steps = [(role, signer) for role in order for signer in keys[role]]
    for role, signer in steps:
        with pytest.raises((Missing, Forbidden)):
            begun.publish(keys["snapshot"], keys["timestamp"], now=NOON)
        begun.sign_pending(role, [signer])
        begun.settle()
        for path in (begun.directory / "metadata").glob("*"):
            name = path.name.split(".")[1]
            needed = 2 if name in ("root", "targets") else 1
            assert len(Metadata.from_file(str(path)).signatures) == needed
        parents = {"root": (), "targets": ("root",)}
        for role_ in OFFLINE:
            if f"1.{role_}.json" in in_place(begun):
                assert all(f"1.{one}.json" in in_place(begun) for one in parents.get(role_, ("targets",)))
    assert waiting(begun) == set()
    begun.publish(keys["snapshot"], keys["timestamp"], now=NOON)
    begun.add_policy(policy_bytes(), keys["privacy"], now=NOON)
    begun.publish(keys["snapshot"], keys["timestamp"], now=NOON)
    runtime = Runtime(tmp_path / "state", begun.trusted_root(), DirectorySource(begun.directory))
    assert runtime.refresh().policy.version == 1


def test_a_repository_is_begun_once(begun: Repository, shop: Shop):
    for directory in (begun.directory, shop[0].directory):
        before = waiting(begun), published(Repository(directory))
        with pytest.raises(Forbidden, match="holds a repository already"):
            Repository.begin(directory, publics(signers()), now=NOON)
        assert (waiting(begun), published(Repository(directory))) == before


def test_one_holder_is_not_two(begun: Repository):
    alice = signers()["root"][0]
    for _ in range(2):
        begun.sign_pending("root", [alice, alice])
    pending = begun.pending("root")
    assert pending is not None
    assert (pending.signed, pending.ready) == ((alice.public_key.keyid,), False)
    assert pending.lacking == ((1, (signers()["root"][1].public_key.keyid,)),)
    assert begun.settle() == ()


def test_another_roles_keys_do_not_sign(begun: Repository):
    before = published(begun)
    with pytest.raises(Forbidden, match="may not sign"):
        begun.sign_pending("root", signers()["targets"])
    assert published(begun) == before


# Changes


def test_a_key_is_revoked_by_two_people_apart(shop: Shop):
    publisher, runtime = shop
    repository, (alice, bob) = publisher.repository, publisher.keys["targets"]
    old, new = publisher.keys["models"][0], CryptoSigner.generate_ed25519()
    before = in_place(repository)
    repository.propose("models", now=NOON, add=[new.public_key], revoke=[old.public_key.keyid])
    repository.sign_pending("targets", [alice])
    assert repository.settle() == ()
    assert in_place(repository) == before
    repository.sign_pending("targets", [bob])
    assert repository.settle() == ("targets",)
    assert (waiting(repository), in_place(repository) - before) == (set(), {"2.targets.json"})
    with pytest.raises(Forbidden, match="models: was signed by keys that no longer count") as caught:
        publisher.publish()
    assert caught.value.remedy.endswith("entrenous keys sign --role models")
    assert runtime.refresh().refused is None  # nothing shows yet
    repository.sign_again("models", [new], now=NOON)
    publisher.publish()
    assert runtime.refresh().refused is None


def test_a_new_root_needs_old_and_new_holders_and_waits_for_publish(shop: Shop):
    publisher, runtime = shop
    repository, (alice, bob) = publisher.repository, publisher.keys["root"]
    carol = CryptoSigner.generate_ed25519()
    repository.propose("root", now=NOON, add=[carol.public_key], revoke=[alice.public_key.keyid])
    repository.sign_pending("root", [bob, carol])
    pending = repository.pending("root")
    assert pending is not None
    assert pending.lacking == ((1, (alice.public_key.keyid,)),)
    publisher.publish()
    assert "2.root.json" not in in_place(repository)
    pending = repository.sign_pending("root", [alice])
    assert pending.ready
    assert repository.settle() == ()
    assert "2.root.json" not in in_place(repository)
    with pytest.raises(Forbidden, match="is signed and waits"):
        repository.propose("timestamp", now=NOON, add=[CryptoSigner.generate_ed25519().public_key])
    publisher.publish()
    assert "2.root.json" in in_place(repository)
    assert waiting(repository) == set()
    assert runtime.refresh().refused is None


def test_a_root_that_would_strand_runtimes_does_not_show(shop: Shop):
    """It revokes what signed `targets`: it waits until that is signed anew, and both show together."""
    publisher, runtime = shop
    repository = publisher.repository
    alice, bob = publisher.keys["targets"]
    carol = CryptoSigner.generate_ed25519()
    repository.propose("targets", now=NOON, add=[carol.public_key], revoke=[alice.public_key.keyid])
    repository.sign_pending("root", publisher.keys["root"])
    before = published(repository)
    with pytest.raises(Forbidden, match="targets: was signed by keys"):
        publisher.publish()
    assert published(repository) == before
    repository.propose("targets", now=NOON, renew=True)
    repository.sign_pending("targets", [alice, bob, carol])
    assert repository.settle() == ("targets",)
    assert runtime.refresh().refused is None
    publisher.publish()
    assert runtime.refresh().refused is None
    assert {"2.root.json", "2.targets.json"} <= in_place(repository)


def test_an_amended_proposal_drops_the_signatures_on_the_one_before(shop: Shop):
    publisher, _ = shop
    repository, (alice, _bob) = publisher.repository, publisher.keys["targets"]
    first, second = (CryptoSigner.generate_ed25519().public_key for _ in range(2))
    repository.propose("models", now=NOON, add=[first])
    repository.sign_pending("targets", [alice])
    amended = repository.propose("privacy", now=NOON, add=[second])
    assert amended.signed == ()
    assert {first.keyid, second.keyid} <= set(amended.metadata.signed.delegations.keys)
    assert waiting(repository) == {"2.targets.json"}


def test_only_what_was_shown_is_signed(shop: Shop):
    publisher, _ = shop
    repository = publisher.repository
    shown = repository.propose("models", now=NOON, add=[CryptoSigner.generate_ed25519().public_key])
    repository.propose("models", now=NOON, add=[CryptoSigner.generate_ed25519().public_key])
    before = published(repository)
    with pytest.raises(Forbidden, match="no longer what was shown"):
        repository.sign_pending("targets", publisher.keys["targets"], shown=shown.metadata.signed_bytes)
    assert published(repository) == before


def test_a_key_under_the_id_of_another_is_not_signed(shop: Shop):
    """The id says `bob`, the key is a thief's: who compares ids would not see it."""
    publisher, _ = shop
    repository = publisher.repository
    thief, bob = CryptoSigner.generate_ed25519().public_key, publisher.keys["models"][0].public_key
    pending = repository.propose("models", now=NOON, renew=False)
    false = SSlibKey(bob.keyid, thief.keytype, thief.scheme, dict(thief.keyval))
    pending.metadata.signed.delegations.keys[bob.keyid] = false
    repository.shelf.put_pending("targets", pending.metadata)
    with pytest.raises(Unauthentic, match="under an id that is not its own"):
        repository.sign_pending("targets", publisher.keys["targets"])
    assert repository.settle() == ()


@pytest.mark.parametrize("role", ["root", "targets", "models"])
def test_a_proposal_that_runtimes_would_refuse_is_not_signed(shop: Shop, role: str):
    publisher, _ = shop
    repository = publisher.repository
    pending = repository.propose(role, now=NOON, renew=True)
    signed = pending.metadata.signed
    if role == "root":
        signed.roles["root"].threshold = 1
    elif role == "targets":
        signed.delegations.roles["models"].paths = ["*"]
    else:
        publisher.list_target(signed, POLICY_PATH, policy_bytes(9), 9)
    repository.shelf.put_pending(role, pending.metadata)
    with pytest.raises(Unauthentic):
        repository.sign_pending(role, publisher.keys[role])
    assert repository.settle() == ()


def test_a_proposal_that_was_overtaken(shop: Shop):
    publisher, _ = shop
    repository = publisher.repository
    repository.propose("models", now=NOON, add=[CryptoSigner.generate_ed25519().public_key])
    stale = repository.directory / "pending" / "2.targets.json"
    data = stale.read_bytes()
    repository.sign_again("targets", publisher.keys["targets"], now=NOON)
    assert waiting(repository) == set()
    stale.write_bytes(data)  # brought back from another machine
    with pytest.raises(Forbidden, match="overtaken"):
        repository.sign_pending("targets", publisher.keys["targets"])
    stale.rename(stale.with_name("3.targets.json"))
    with pytest.raises(Malformed, match="another version than its name"):
        repository.sign_pending("targets", publisher.keys["targets"])


def test_nothing_pending(shop: Shop):
    publisher, _ = shop
    with pytest.raises(Missing, match="nothing pending"):
        publisher.repository.sign_pending("root", publisher.keys["root"])


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"null"])
def test_broken_pending_metadata(begun: Repository, data: bytes):
    (begun.directory / "pending" / "1.root.json").write_bytes(data)
    with pytest.raises(Malformed):
        begun.sign_pending("root", signers()["root"])


# What shows


@pytest.mark.parametrize("role", OFFLINE)
def test_what_expired_does_not_show(shop: Shop, role: str):
    publisher, _ = shop
    publisher.now += 364 * DAY
    for other in OFFLINE:
        if other not in (role, "root"):
            publisher.repository.sign_again(other, publisher.keys[other], now=publisher.now)
    if role != "root":
        publisher.repository.propose("root", now=publisher.now, renew=True)
        publisher.repository.sign_pending("root", publisher.keys["root"])
    publisher.now += 2 * DAY
    before = published(publisher.repository)
    with pytest.raises(Forbidden, match=f"{role}: has expired"):
        publisher.publish()
    assert published(publisher.repository) == before


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_target_that_is_not_what_is_listed_does_not_show(shop: Shop, change: str):
    publisher, _ = shop
    publisher.bundle(2)
    path = publisher.target_file(bundle_bytes(2))
    path.unlink() if change == "gone" else path.write_bytes(bundle_bytes(2)[:-1])
    before = published(publisher.repository)
    with pytest.raises(Missing if change == "gone" else Unauthentic):
        publisher.publish()
    assert published(publisher.repository) == before


def test_a_timestamp_is_not_refreshed_over_a_snapshot_that_no_longer_counts(shop: Shop):
    publisher, _ = shop
    old, new = publisher.keys["snapshot"][0], CryptoSigner.generate_ed25519()
    refresh, stamping = publisher.repository.refresh_timestamp, publisher.keys["timestamp"]
    with pytest.raises(Forbidden, match="publish anew"):
        refresh(stamping, now=NOON + 8 * DAY)
    publisher.repository.rotate(
        "snapshot", publisher.keys["root"], now=NOON, add=[new.public_key], revoke=[old.public_key.keyid]
    )
    with pytest.raises(Forbidden, match="publish anew"):
        refresh(stamping, now=NOON)


def test_one_publisher_at_a_time(shop: Shop):
    publisher, runtime = shop
    held = os.open(publisher.directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    before = published(publisher.repository)
    for attempt in (
        publisher.publish,
        lambda: publisher.repository.refresh_timestamp(publisher.keys["timestamp"], now=NOON),
    ):
        with pytest.raises(Unavailable, match="another publisher"):
            attempt()
    assert published(publisher.repository) == before
    os.close(held)
    publisher.publish()
    assert runtime.refresh().refused is None


def test_what_a_thief_listed_is_not_blessed_by_the_next_signature(shop: Shop):
    """Who can write to the repository and has no key: the data scientist's next signature must not cover it."""
    publisher, _ = shop
    path = publisher.repository.shelf.place("models")
    document = json.loads(path.read_bytes())
    listed = document["signed"]["targets"]
    listed["bundles/another"] = listed[BUNDLE_PATH]
    path.write_text(json.dumps(document))
    before = published(publisher.repository)
    with pytest.raises(Forbidden, match="models: was signed by keys that no longer count"):
        publisher.bundle(2)
    assert published(publisher.repository) == before


def test_a_bundle_learnt_from_research_data_is_not_for_visitors(shop: Shop):
    publisher, _ = shop
    before = published(publisher.repository)
    add = publisher.repository.add_bundle
    with pytest.raises(Forbidden, match="public research data") as caught:
        add(bundle_bytes(2), publisher.keys["models"], tenant=TENANT, now=NOON)
    assert "improve" in caught.value.remedy
    assert published(publisher.repository) == before


def test_a_key_that_was_revoked_and_still_lies_there_leaves_no_signature(shop: Shop):
    publisher, _ = shop
    old, new = publisher.keys["models"][0], CryptoSigner.generate_ed25519()
    publisher.repository.rotate(
        "models", publisher.keys["targets"], now=NOON, add=[new.public_key], revoke=[old.public_key.keyid]
    )
    publisher.repository.sign_again("models", [old, new], now=NOON)
    assert set(publisher.repository.shelf.metadata("models").signatures) == {new.public_key.keyid}


def test_status_says_what_expires_soon_and_what_counts(shop: Shop):
    publisher, _ = shop
    at = {one.role: (one.soon, one.verified) for one in publisher.repository.status(NOON)}
    assert set(at.values()) == {(False, True)}
    assert set(at) == {*OFFLINE, "snapshot", "timestamp"}
    soon = {one.role for one in publisher.repository.status(NOON + DAY * 3 // 4 + 1) if one.soon}
    assert soon == {"timestamp"}
    publisher.repository.rotate(
        "models",
        publisher.keys["targets"],
        now=NOON,
        add=[CryptoSigner.generate_ed25519().public_key],
        revoke=[publisher.keys["models"][0].public_key.keyid],
    )
    assert {one.role for one in publisher.repository.status(NOON) if not one.verified} == {"models"}


def test_a_rotation_at_once_signs_nothing_that_somebody_else_proposed(shop: Shop):
    publisher, _ = shop
    repository = publisher.repository
    repository.propose("models", now=NOON, add=[CryptoSigner.generate_ed25519().public_key])
    before = published(repository)
    with pytest.raises(Forbidden, match="another change pending"):
        repository.rotate(
            "privacy", publisher.keys["targets"], now=NOON, add=[CryptoSigner.generate_ed25519().public_key]
        )
    assert published(repository) == before
