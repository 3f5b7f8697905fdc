"""The Merkle log."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from entrenous_consent import audit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "audit.json").read_text("utf-8"))
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The eight leaves that Certificate Transparency implementations test with."""


def tree_hash(entries: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, as it is written there."""
    count = len(entries)
    if count == 0:
        return sha256(b"").digest()
    if count == 1:
        return sha256(b"\x00" + entries[0]).digest()
    half = 1 << (count - 1).bit_length() - 1
    return sha256(b"\x01" + tree_hash(entries[:half]) + tree_hash(entries[half:])).digest()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_the_published_roots(count, expected):
    assert audit.root(LEAVES[:count]).hex() == expected


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


def test_an_unknown_kind_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="not a kind"):
        audit.entry("decision", time=1, subject=b"", detail={})


def test_a_log_is_a_month_in_utc():
    december = 1_796_083_200
    assert [audit.log_name(december - 1), audit.log_name(december)] == ["audit 2026-11", "audit 2026-12"]
