"""The Merkle log."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from entrenous_consent import audit
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "audit.json").read_text("utf-8"))
MERKLE = json.loads((Path(__file__).parents[1] / "vectors" / "audit_merkle.json").read_text("utf-8"))
LEAVES = [bytes.fromhex(leaf) for leaf in MERKLE["leaves"]]
HASHES = [audit.leaf_hash(leaf) for leaf in LEAVES]
ROOTS = [bytes.fromhex(root) for root in (MERKLE["empty_root"], *MERKLE["roots"])]
"""By size, from 0."""
OTHER = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
ALL = {
    "consent.granted": {"granted": ["personalize"], "withdrawn": [], "policy": 1, "source": "app"},
    "consent.changed": {"granted": ["personalize"], "withdrawn": [], "policy": 1, "source": "tcf"},
    "consent.withdrawn": {
        "granted": [],
        "withdrawn": ["personalize"],
        "policy": 1,
        "source": "A CMP (consent.example)",
    },
    "objection": {"purposes": ["personalize"], "policy": 1, "source": "gpc"},
    "erasure": {"policy": 1},
    "export": {"purposes": ["history", "personalize"]},
    "correction": {"purposes": ["personalize"], "features": ["favourite_category"], "policy": 1},
    "activation": {
        "policy": 1,
        "policy_digest": "0f" * 32,
        "bundle": "shop",
        "bundle_version": 2,
        "bundle_digest": "a1" * 32,
    },
    "refusal": {"error": "Forbidden", "what": "asks for more than the policy allows", "place": "bundles/shop"},
    "release": {
        "report": "promotion",
        "experiment": "autumn",
        "id": "0f" * 16,
        "epsilon": 0.5,
        "cells": 6,
        "suppressed": 2,
    },
    "message": {"message": "restock", "purpose": "message", "policy": 1},
    "key.rotation": {"generation": 2, "rewrapped": 100, "epochs": [51]},
    "access": {"verb": "consent-receipt"},
    "audit.sealed": {"log": "audit 2026-10", "size": 3, "root": "0f" * 32},
    "audit.dropped": {"log": "audit 2021-10", "size": 3, "root": "0f" * 32},
}
"""One detail of every kind, with every key that it may have."""
MOST = 1 << 53


def tree_hash(entries: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, as it is written there."""
    count = len(entries)
    if count == 0:
        return sha256(b"").digest()
    if count == 1:
        return sha256(b"\x00" + entries[0]).digest()
    half = 1 << (count - 1).bit_length() - 1
    return sha256(b"\x01" + tree_hash(entries[:half]) + tree_hash(entries[half:])).digest()


@pytest.mark.parametrize("count", range(9))
def test_the_published_roots(count):
    assert audit.root(LEAVES[:count]) == ROOTS[count]


@pytest.mark.parametrize("count", range(40))
def test_the_root_is_the_one_the_rfc_defines(count):
    entries = [b"entry %d" % i for i in range(count)]
    assert audit.root(entries) == tree_hash(entries)


@pytest.mark.parametrize(
    "changed",
    [LEAVES[:-1], [*LEAVES, b""], LEAVES[::-1], [b"x", *LEAVES[1:]], [*LEAVES, LEAVES[-1]]],
    ids=["cut", "longer", "reordered", "edited", "last one twice"],
)
def test_any_change_moves_the_root(changed):
    assert audit.root(changed) != audit.root(LEAVES)


def test_a_leaf_is_not_a_node():
    assert audit.root([audit.leaf_hash(b"a") + audit.leaf_hash(b"b")]) != audit.root([b"a", b"b"])


@pytest.mark.parametrize("vector", VECTORS["entries"], ids=lambda vector: vector["kind"])
def test_the_bytes_of_an_entry_are_pinned(vector):
    subject = audit.commitment(bytes.fromhex(VECTORS["salt"]), bytes.fromhex(VECTORS["handle"]))
    assert subject.hex() == VECTORS["subject"]
    data = audit.entry(vector["kind"], time=vector["time"], subject=subject, detail=vector["detail"])
    assert data.hex() == vector["bytes"]
    assert audit.leaf_hash(data).hex() == vector["leaf"]


def test_the_root_of_those_entries_is_pinned():
    assert audit.root([bytes.fromhex(one["bytes"]) for one in VECTORS["entries"]]).hex() == VECTORS["root"]


def test_the_order_of_details_does_not_matter():
    detail = {"message": "restock", "purpose": "message", "policy": 1}
    turned = dict(reversed(detail.items()))
    made = [audit.entry("message", time=1, subject=b"", detail=one) for one in (detail, turned)]
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", ["decision", "ada@example.org", 7])
def test_an_unknown_kind_is_refused_and_not_repeated(kind):
    with pytest.raises(ValueError, match="its kind is none") as mistake:
        audit.entry(kind, time=1, subject=b"", detail={})
    with pytest.raises(Malformed, match="its kind is none") as broken:
        audit.read_entry(pack([1, 1, kind, b"", {}]))
    assert [error for error in (mistake, broken) if str(kind) in str(error.value)] == []


def test_a_log_is_a_month_in_utc():
    december = 1_796_083_200
    assert [audit.log_name(december - 1), audit.log_name(december)] == ["audit 2026-11", "audit 2026-12"]


# Proofs


def path_of(vector: dict) -> list[bytes]:
    return [bytes.fromhex(one) for one in vector["path"]]


def spoiled(path: list[bytes]) -> list[list[bytes]]:
    """Return paths that are wrong in one place each."""
    flipped = [[*path[:i], bytes([path[i][0] ^ 8]) + path[i][1:], *path[i + 1 :]] for i in range(len(path))]
    longer = [[*path, b""], [*path, OTHER], [b"", *path], [OTHER, *path], [*path[:1], OTHER, *path[1:]]]
    return [*flipped, *longer, *([path[:-1], path[1:], [*path[:-1], path[-1].hex()]] if path else [])]


@pytest.mark.parametrize("vector", MERKLE["inclusion"], ids=lambda one: f"{one['index']} of {one['size']}")
def test_the_published_inclusion_proofs(vector):
    index, size, path = vector["index"], vector["size"], path_of(vector)
    assert audit.inclusion_proof(HASHES[:size], index) == path
    assert audit.verify_inclusion(HASHES[index], index, size, path, ROOTS[size])
    for wrong in spoiled(path):
        assert not audit.verify_inclusion(HASHES[index], index, size, wrong, ROOTS[size])
    for place, count in ((index + 1, size), (-1, size), (index, 0), (MOST, 2 * MOST), (0, -1)):
        assert not audit.verify_inclusion(HASHES[index], place, count, path, ROOTS[size])
    for leaf, root in ((b"short", ROOTS[size]), (OTHER, ROOTS[size]), (HASHES[index], OTHER), (HASHES[index], b"")):
        assert not audit.verify_inclusion(leaf, index, size, path, root)


@pytest.mark.parametrize("vector", MERKLE["consistency"], ids=lambda one: f"{one['first']} to {one['second']}")
def test_the_published_consistency_proofs(vector):
    first, second, path = vector["first"], vector["second"], path_of(vector)
    assert audit.consistency_proof(HASHES[:second], first) == path
    assert audit.verify_consistency(first, second, path, ROOTS[first], ROOTS[second])
    for wrong in spoiled(path):
        assert not audit.verify_consistency(first, second, wrong, ROOTS[first], ROOTS[second])
    for before, after in ((first - 1, second), (second + 1, second), (-1, second), (first, first - 1), (first, MOST)):
        assert not audit.verify_consistency(before, after, path, ROOTS[first], ROOTS[second])
    for before, after in ((OTHER, ROOTS[second]), (ROOTS[first], OTHER), (b"", ROOTS[second]), (ROOTS[first], b"")):
        assert not audit.verify_consistency(first, second, path, before, after)


def test_every_entry_of_every_small_log_is_proved_and_nothing_else_is():
    for size in range(1, 9):
        for index in range(size):
            path = audit.inclusion_proof(HASHES[:size], index)
            proved = {
                (place, count)
                for count in range(10)
                for place in range(10)
                if count < len(ROOTS) and audit.verify_inclusion(HASHES[index], place, count, path, ROOTS[count])
            }
            assert proved == {(index, size)}


def test_every_growth_of_every_small_log_is_proved():
    for second in range(9):
        for first in range(second + 1):
            path = audit.consistency_proof(HASHES[:second], first)
            assert audit.verify_consistency(first, second, path, ROOTS[first], ROOTS[second])
            assert first == second or not audit.verify_consistency(first, second, path, ROOTS[second], ROOTS[first])


def test_an_empty_log_grows_into_any_and_its_root_is_known():
    assert audit.verify_consistency(0, 5, [], ROOTS[0], ROOTS[5])
    assert not audit.verify_consistency(0, 5, [], OTHER, ROOTS[5])
    assert not audit.verify_consistency(0, 5, [OTHER], ROOTS[0], ROOTS[5])


def test_a_proof_is_refused_when_it_is_longer_than_any_log_could_need():
    assert not audit.verify_inclusion(OTHER, 0, 1, [OTHER] * 65, OTHER)
    assert not audit.verify_consistency(3, 1 << 60, [OTHER] * 65, OTHER, OTHER)
    assert not audit.verify_consistency(3, 5, [], ROOTS[3], ROOTS[5])


def test_a_proof_of_what_is_not_there_is_a_mistake_of_ours():
    for make, place in ((audit.inclusion_proof, 8), (audit.inclusion_proof, -1), (audit.consistency_proof, 9)):
        with pytest.raises(IndexError):
            make(HASHES, place)


# The closed list


@pytest.mark.parametrize("kind", audit.KINDS)
def test_an_entry_of_every_kind_is_read_as_it_was_written(kind):
    data = audit.entry(kind, time=7, subject=bytes(32), detail=ALL[kind])
    assert audit.read_entry(data) == audit.Entry(time=7, kind=kind, subject=bytes(32), detail=ALL[kind])
    assert {key.removesuffix("?") for key in audit.DETAILS[kind]} == ALL[kind].keys()


@pytest.mark.parametrize("kind", audit.KINDS)
def test_a_detail_holds_its_keys_and_no_other(kind):
    with pytest.raises(ValueError, match="has other keys"):
        audit.entry(kind, time=7, subject=b"", detail={**ALL[kind], "visitor": "x"})
    for key in audit.DETAILS[kind]:
        less = {one: ALL[kind][one] for one in ALL[kind] if one != key.removesuffix("?")}
        if key.endswith("?"):
            audit.entry(kind, time=7, subject=b"", detail=less)
        else:
            with pytest.raises(ValueError, match="has other keys"):
                audit.entry(kind, time=7, subject=b"", detail=less)


IDENTIFYING = {
    "a handle": bytes(32),
    "a pseudonym of eight bytes": bytes(range(8)),
    "a handle in hexadecimal": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a09",
    "a row's name in hexadecimal": "9f86d081884c7d65",
    "a handle in base64": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
    "an address of mail": "canary@example.org",
    "a consent string": "CQAAAAAQAAAAAAfAAAENAAEgAAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAA",
    "a list of handles": [bytes(32)],
    "a map": {"visitor": "x"},
    "nothing": None,
    "a flag": True,
}
DIGESTS = ("policy_digest", "bundle_digest", "root")
WORDS = ("what", "place")
"""What the updater and releases say: they know no visitor (`tests/attacks/test_promise_2_identifier.py`)."""


@pytest.mark.parametrize("value", IDENTIFYING.values(), ids=IDENTIFYING.keys())
def test_no_detail_takes_what_could_be_a_visitor(value):
    for kind, detail in ALL.items():
        for key in detail:
            if isinstance(value, str) and (key in WORDS or (key in DIGESTS and len(value) == 64)):
                continue
            with pytest.raises(ValueError, match=f"the detail {key} of {kind} is not as its kind has it"):
                audit.entry(kind, time=7, subject=b"", detail={**detail, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("granted", ["b", "a"]),
        ("granted", ["a", "a"]),
        ("granted", ["A"]),
        ("granted", "a"),
        ("policy", -1),
        ("policy", 1 << 54),
        ("policy", 1.0),
        ("source", ""),
        ("source", "a\nb"),
        ("source", "x" * 201),
    ],
)
def test_a_detail_has_its_shape(key, value):
    with pytest.raises(ValueError, match=key):
        audit.entry("consent.granted", time=7, subject=b"", detail={**ALL["consent.granted"], key: value})


@pytest.mark.parametrize(
    ("time", "kind", "subject", "error"),
    [
        (-1, "erasure", b"", "time"),
        (True, "erasure", b"", "time"),
        (7, "erasure", bytes(31), "subject"),
        (7, "erasure", "x", "subject"),
        (7, b"erasure", b"", "kind"),
        (7, "\x00", b"", "kind"),
    ],
)
def test_an_entry_has_its_frame(time, kind, subject, error):
    with pytest.raises(ValueError, match=error):
        audit.entry(kind, time=time, subject=subject, detail={"policy": 1})


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [1, 7, "erasure", b""],
        [2, 7, "erasure", b"", {"policy": 1}],
        [1, 7, "erasure", b"", []],
        [1, 7, "decision", b"", {}],
        [1, 7, "erasure", b"", {"policy": 1, "visitor": "x"}],
        [1, 7, "erasure", b"", {"policy": 1, 2: 3}],
        [1, 7, "message", b"", {"purpose": "message", "message": "restock", "policy": 1}],
    ],
)
def test_what_is_no_entry_is_refused(value):
    with pytest.raises(Malformed):
        audit.read_entry(pack(value))


def test_an_entry_is_bounded():
    with pytest.raises(Malformed, match="longer than 65536 bytes"):
        audit.read_entry(bytes(audit.ENTRY_LIMIT + 1))
