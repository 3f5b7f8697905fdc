"""Promise 4, two keys: the data scientist signs the bundle, the DPO the policy, and neither can sign for the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signature, Signer, SSlibKey
from tests.repository import (
    BUNDLE_PATH,
    POLICY_PATH,
    Publisher,
    Runtime,
    bundle_bytes,
    pair,
    policy_bytes,
    signers,
)
from tuf.api.metadata import DelegatedRole, Delegations, Metadata

from entrenous_consent.errors import Forbidden, Malformed, Missing, Refusal, Unauthentic


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Publisher, Runtime]:
    return pair(tmp_path)


Shop = tuple[Publisher, Runtime]


class NoSecret(Signer):
    """Signs with a public key of order 1, for which nobody needs a secret: R is that point, S is 0."""

    POINT = bytes([1]) + bytes(31)

    def __init__(self) -> None:
        self._key = SSlibKey("0" * 64, "ed25519", "ed25519", {"public": self.POINT.hex()})

    @property
    def public_key(self) -> SSlibKey:
        return self._key

    @classmethod
    def from_priv_key_uri(cls, *_: Any) -> NoSecret:
        return cls()

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.keyid, (self.POINT + bytes(32)).hex())


def test_a_policy_signed_by_models(shop: Shop):
    publisher, runtime = shop
    publisher.forge(
        "privacy",
        lambda signed: publisher.list_target(signed, POLICY_PATH, policy_bytes(2), 2),
        by=publisher.keys["models"],
    )
    publisher.publish()
    runtime.refuses(Unauthentic, "lacks signatures")


def test_a_policy_listed_by_models(shop: Shop):
    publisher, runtime = shop
    publisher.forge("models", lambda signed: publisher.list_target(signed, POLICY_PATH, policy_bytes(2), 2))
    publisher.publish()
    runtime.refuses(Unauthentic, "lists a target that is not bundles/")


def test_a_policy_that_only_models_lists(shop: Shop):
    publisher, runtime = shop
    publisher.forge("models", lambda signed: publisher.list_target(signed, POLICY_PATH, policy_bytes(2), 2))
    publisher.forge("privacy", lambda signed: signed.targets.clear())
    publisher.publish()
    runtime.refuses(Missing, "is not listed")


def test_a_bundle_signed_by_privacy(shop: Shop):
    publisher, runtime = shop
    publisher.forge(
        "models",
        lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(2), 2),
        by=publisher.keys["privacy"],
    )
    publisher.publish()
    runtime.refuses(Unauthentic, "lacks signatures")


def test_a_bundle_listed_by_privacy(shop: Shop):
    publisher, runtime = shop
    publisher.forge("privacy", lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(2), 2))
    publisher.publish()
    runtime.refuses(Unauthentic, "lists a target that is not policies/")


@pytest.mark.parametrize(("path", "data"), [(BUNDLE_PATH, bundle_bytes(2)), (POLICY_PATH, policy_bytes(2))])
def test_a_target_in_top_level_targets(shop: Shop, path: str, data: bytes):
    publisher, runtime = shop
    publisher.forge("targets", lambda signed: publisher.list_target(signed, path, data, 2))
    publisher.publish()
    runtime.refuses(Unauthentic, "lists targets of its own")


def _third(signed: Any) -> None:
    keyids = signed.delegations.roles["models"].keyids
    signed.delegations.roles["helper"] = DelegatedRole("helper", keyids, 1, True, paths=["bundles/*"])


def _one(signed: Any) -> None:
    del signed.delegations.roles["privacy"]


def _none(signed: Any) -> None:
    signed.delegations = None


def _swapped(signed: Any) -> None:
    roles = signed.delegations.roles
    roles["models"].paths, roles["privacy"].paths = roles["privacy"].paths, roles["models"].paths


def _wider(signed: Any) -> None:
    signed.delegations.roles["models"].paths = ["bundles/*", "policies/*"]


def _backtracking(signed: Any) -> None:
    signed.delegations.roles["models"].terminating = False


def _by_prefix(signed: Any) -> None:
    role = signed.delegations.roles["models"]
    role.paths, role.path_hash_prefixes = None, ["0"]


def _shared_key(signed: Any) -> None:
    roles = signed.delegations.roles
    roles["privacy"].keyids += roles["models"].keyids


def _same_key_twice(signed: Any) -> None:
    role = signed.delegations.roles["models"]
    key = signed.delegations.keys[role.keyids[0]]
    signed.delegations.keys["f" * 64] = SSlibKey("f" * 64, key.keytype, key.scheme, dict(key.keyval))
    role.keyids.append("f" * 64)
    role.threshold = 2


def _other_kind(signed: Any) -> None:
    signed.add_key(CryptoSigner.generate_ecdsa().public_key, "models")


def _online_key(signed: Any) -> None:
    signed.add_key(signers()["timestamp"][0].public_key, "privacy")


def _small_order(signed: Any) -> None:
    signed.add_key(NoSecret().public_key, "models")


def _off_the_curve(signed: Any) -> None:
    public = (2).to_bytes(32, "little").hex()
    signed.add_key(SSlibKey("e" * 64, "ed25519", "ed25519", {"public": public}), "models")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_third, "exactly `models` and `privacy`"),
        (_one, "exactly `models` and `privacy`"),
        (_none, "exactly `models` and `privacy`"),
        (_swapped, "alone, terminating"),
        (_wider, "alone, terminating"),
        (_backtracking, "alone, terminating"),
        (_by_prefix, "alone, terminating"),
        (_shared_key, "shares a key"),
        (_same_key_twice, "one key twice"),
        (_other_kind, "not a sound Ed25519 key"),
        (_online_key, "shares a key with the online roles"),
        (_small_order, "not a sound Ed25519 key"),
        (_off_the_curve, "not a sound Ed25519 key"),
    ],
)
def test_delegations_that_break_the_layout_though_two_holders_signed_them(
    shop: Shop, change: Callable[[Any], None], words: str
):
    publisher, runtime = shop
    publisher.forge("targets", change)
    publisher.publish()
    runtime.refuses(Unauthentic, words)


def test_a_bundle_that_nobody_signed_under_a_small_order_key(shop: Shop):
    publisher, runtime = shop
    publisher.forge("targets", _small_order)
    publisher.forge(
        "models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(2), 2), by=[NoSecret()]
    )
    publisher.publish()
    metadata = publisher.repository.directory / "metadata" / f"{publisher.signed('models').version}.models.json"
    loaded: Metadata[Any] = Metadata.from_file(str(metadata))
    publisher.signed("targets").verify_delegate("models", loaded.signed_bytes, loaded.signatures)  # TUF accepts it
    runtime.refuses(Unauthentic, "not a sound Ed25519 key")


def test_a_sub_delegation(shop: Shop):
    publisher, runtime = shop
    helper = CryptoSigner.generate_ed25519().public_key

    def delegate(signed: Any) -> None:
        role = DelegatedRole("helper", [helper.keyid], 1, True, paths=["bundles/*"])
        signed.delegations = Delegations({helper.keyid: helper}, {"helper": role})

    publisher.forge("models", delegate)
    publisher.publish()
    runtime.refuses(Unauthentic, "delegates further")


@pytest.mark.parametrize("role", ["targets", "root"])
def test_one_signature_of_two(shop: Shop, role: str):
    publisher, runtime = shop
    publisher.forge(role, by=publisher.keys[role][:1])
    publisher.publish() if role == "targets" else None
    runtime.refuses(Unauthentic, "lacks signatures")


@pytest.mark.parametrize("role", ["targets", "root"])
def test_one_key_under_two_ids_is_one_signature(tmp_path: Path, role: str):
    publisher, runtime = pair(tmp_path)
    lone = publisher.keys[role][0]
    public = lone.public_key
    twin = SSlibKey("f" * 64, public.keytype, public.scheme, dict(public.keyval))

    def double(signed: Any) -> None:
        signed.keys[twin.keyid] = twin
        signed.roles[role].keyids = [public.keyid, twin.keyid]

    publisher.forge("root", double, by=publisher.keys["root"] + (CryptoSigner(lone._private_key, twin),))
    publisher.keys["root"] += (CryptoSigner(lone._private_key, twin),)
    _refused_but_for_roots(runtime, "one key twice" if role == "root" else "lacks signatures")


@pytest.mark.parametrize("role", ["targets", "root"])
def test_a_threshold_of_one(shop: Shop, role: str):
    publisher, runtime = shop

    def lower(signed: Any) -> None:
        signed.roles[role].threshold = 1

    publisher.forge("root", lower)
    _refused_but_for_roots(runtime, "fewer than 2 signatures")


def _refused_but_for_roots(runtime: Runtime, words: str) -> None:
    """A root that its predecessor's holders signed is kept, so that what it revokes stays revoked; nothing else is."""
    before, served = runtime.files(), runtime.digests()
    with pytest.raises(Unauthentic, match=words):
        runtime.refresh()
    after = runtime.files()
    assert runtime.digests() == served
    assert {name for name in after if before.get(name) != after[name]} <= {"metadata/root_history/2.root.json"}
    assert before.keys() <= after.keys()
    assert runtime.serving() == (1, 1)


def test_a_revoked_model_key(shop: Shop):
    publisher, runtime = shop
    stolen, new = publisher.keys["models"], CryptoSigner.generate_ed25519()
    publisher.repository.rotate(
        "models",
        publisher.keys["targets"],
        now=publisher.now,
        add=[new.public_key],
        revoke=[stolen[0].public_key.keyid],
    )
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(2), 2), by=stolen)
    publisher.publish()
    runtime.refuses(Unauthentic, "lacks signatures")
    publisher.keys["models"] = (new,)
    publisher.forge("models")
    publisher.publish()
    assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 2)


def test_a_revoked_online_key_stays_revoked(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    stolen, new = publisher.keys["timestamp"], CryptoSigner.generate_ed25519()
    publisher.repository.rotate(
        "timestamp",
        publisher.keys["root"],
        now=publisher.now,
        add=[new.public_key],
        revoke=[stolen[0].public_key.keyid],
    )
    publisher.forge("timestamp", by=stolen)
    _refused_but_for_roots(runtime, "lacks signatures")
    (publisher.directory / "metadata" / "2.root.json").unlink()  # the thief's mirror hides the revocation again
    publisher.forge("timestamp", by=stolen)
    runtime.refuses(Unauthentic, "lacks signatures")


def test_a_bundle_that_the_policy_forbids(shop: Shop):
    publisher, runtime = shop
    greedy = bundle_bytes(2, retention=3000)
    with pytest.raises(Forbidden, match="retention_days"):
        publisher.bundle(2, retention=3000)
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, greedy, 2))
    publisher.publish()
    runtime.refuses(Forbidden, "retention_days")


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        (3, Unauthentic, "listed as version 3 and says 2"),
        (True, Malformed, "does not state its version"),
        ("2", Malformed, "does not state its version"),
        (0, Malformed, "does not state its version"),
        (None, Malformed, "does not state its version"),
    ],
)
@pytest.mark.parametrize("role", ["models", "privacy"])
def test_versions_that_do_not_agree(shop: Shop, role: str, version: object, kind: type[Refusal], words: str):
    publisher, runtime = shop
    path, data = (BUNDLE_PATH, bundle_bytes(2)) if role == "models" else (POLICY_PATH, policy_bytes(2))
    publisher.forge(role, lambda signed: publisher.list_target(signed, path, data, version))
    publisher.publish()
    runtime.refuses(kind, words)


def test_a_listing_by_a_weak_hash(shop: Shop):
    publisher, runtime = shop

    def weaken(signed: Any) -> None:
        signed.targets[BUNDLE_PATH].hashes = {"md5": "0" * 32}

    publisher.forge("models", weaken)
    publisher.publish()
    runtime.refuses(Malformed, "SHA-256")


def test_a_bundle_of_another_name(shop: Shop):
    publisher, runtime = shop
    other = bundle_bytes(2, name="another")
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, other, 2))
    publisher.publish()
    runtime.refuses(Unauthentic, "another name")


def test_a_policy_of_another_tenant(shop: Shop):
    publisher, runtime = shop
    other = policy_bytes(2, tenant="another_shop")
    publisher.forge("privacy", lambda signed: publisher.list_target(signed, POLICY_PATH, other, 2))
    publisher.publish()
    runtime.refuses(Unauthentic, "another tenant")


@pytest.mark.parametrize("role", ["models", "privacy"])
def test_one_version_that_names_other_bytes_than_before(shop: Shop, role: str):
    publisher, runtime = shop
    other = bundle_bytes(1, expires=publisher.now + 5) if role == "models" else policy_bytes() + b"\n"
    path = BUNDLE_PATH if role == "models" else POLICY_PATH
    publisher.forge(role, lambda signed: publisher.list_target(signed, path, other, 1))
    publisher.publish()
    runtime.refuses(Unauthentic, "names other bytes")
