"""The catalogue's bytes: the same after they were written and read, small for many items, refused where hostile."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest
from tests.recommending import CATEGORIES, ITEMS, catalogue

from entrenous.recommending.catalogue import Catalogue, ItemAttribute, parse_catalogue
from entrenous.recommending.item_table import MOST_ITEMS
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack


def test_a_catalogue_is_the_same_after_it_was_written_and_read():
    data = catalogue(margins=bytes([7] * 8)).encode()
    read = parse_catalogue(data)

    assert read.encode() == data
    assert [read.item(i) for i in range(len(read))] == sorted(ITEMS)
    assert [read.number(one) for one in sorted(ITEMS)] == list(range(8))
    assert read.attributes[0].values == CATEGORIES
    assert list(read.regions["north"]) == [read.number("hose"), read.number("clogs")]
    for i in range(8):
        assert read.alike(i) == catalogue().alike(i)


def test_an_item_that_is_not_there_has_no_number():
    read = catalogue()

    assert [read.number(one) for one in ("zebra", "", "atla", 7, None, True)] == [-1] * 6


@pytest.mark.parametrize("seed", range(3))
def test_ids_of_any_script_and_numbers_come_back(seed):
    chance = random.Random(seed)
    texts = sorted({"".join(chance.choices("aàß漢🧦-0", k=chance.randrange(1, 9))) for _ in range(300)})
    numbers = sorted({str(chance.randrange(-999, 99_999)) for _ in range(300)})

    for ids, integers in ((texts, False), (numbers, True)):
        read = parse_catalogue(Catalogue(ids=ids, integers=integers, attributes=(), popular=[], regions={}).encode())
        items = [read.item(i) for i in range(len(ids))]
        assert items == ([int(one) for one in ids] if integers else ids)
        assert [read.number(one) for one in items] == list(range(len(ids)))


def test_a_large_catalogue_leaves_the_bundle_room_for_successors():
    """100,000 items with five attributes, 400 brands among them, all popular: less than half of the bundle."""
    chance = np.random.default_rng(5)
    attributes = [
        ItemAttribute(
            name=name,
            values=tuple(f"{name} {i}" for i in range(many)),
            codes=chance.integers(0, many + 1, MOST_ITEMS).tolist(),
        )
        for name, many in (("category", 60), ("brand", 400), ("colour", 20), ("size", 30), ("price_band", 8))
    ]
    ids = sorted(f"SKU-{i:07d}" for i in chance.choice(9_999_999, MOST_ITEMS, replace=False))
    large = Catalogue(
        ids=ids, integers=False, attributes=attributes, popular=chance.permutation(MOST_ITEMS).tolist(), regions={}
    )

    data = large.encode()

    assert len(data) < 2 << 20
    assert len(parse_catalogue(data)) == MOST_ITEMS


def changed(**said: object) -> bytes:
    return pack(dict(unpack(catalogue().encode(), place="", longest=1 << 20)) | said)


def attribute(**said: object) -> dict[str, object]:
    return {"attributes": [{"name": "size", "values": ["s", "l"], "codes": bytes(8)} | said]}


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"format": 2}, "format"),
        ({"integers": 1}, "true or false"),
        ({"integers": True}, "no whole number"),
        ({"shared": b""}, "do not fit"),
        ({"lengths": bytes(8)}, "do not fit"),
        ({"shared": b"\0", "lengths": b"\2", "rest": b"\xff\xfe"}, "no text"),
        ({"shared": b"\0\1", "lengths": b"\1\0", "rest": b"a"}, "does not rise"),
        ({"shared": b"\0\0", "lengths": b"\1\1", "rest": b"ba"}, "does not rise"),
        ({"shared": b"\0\0", "lengths": b"\1\2", "rest": b"aab"}, "does not rise"),
        ({"shared": b"\0\5", "lengths": b"\1\1", "rest": b"ab"}, "does not rise"),
        ({"shared": b"\0", "lengths": b"\x41", "rest": b"a" * 65}, "1 to 64"),
        (attribute(codes=bytes(7)), "one for each item"),
        (attribute(codes=bytes([3] * 8)), "not listed"),
        (attribute(name="Size"), "short key"),
        (attribute(values=["s", "s"]), "twice"),
        (attribute(more=1), "more"),
        ({"attributes": attribute()["attributes"] * 2}, "one twice"),
        ({"attributes": attribute()["attributes"] * 9}, "more than 8"),
        ({"popular": b"\0\0\0"}, "no list"),
        ({"popular": b"\x08\0\0\0"}, "not there"),
        ({"popular": bytes(8)}, "one twice"),
        ({"regions": {"": b""}}, "sorted names"),
        ({"regions": {"b": b"", "a": b""}}, "sorted names"),
        ({"regions": {"a": b"\x08\0\0\0"}}, "not there"),
        ({"margins": bytes(7)}, "for each item"),
        ({"margins": bytes([101] * 8)}, "0..100"),
        ({"more": 1}, "more"),
    ],
)
def test_a_catalogue_that_is_none_is_refused(said, what):
    assert parse_catalogue(changed())

    with pytest.raises(Malformed, match=what):
        parse_catalogue(changed(**said))


def test_bytes_that_are_cut_or_changed_are_refused_or_read_as_another_catalogue():
    data, chance = catalogue().encode(), random.Random(8)
    for _ in range(400):
        at, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        hostile = bytearray(data)
        hostile[at] ^= bit
        with suppress(Malformed):
            assert parse_catalogue(bytes(hostile)).encode() == bytes(hostile)
    for end in range(0, len(data), 7):
        with pytest.raises(Malformed):
            parse_catalogue(data[:end])
