"""Signed notes, checkpoints, and the proofs that travel with one."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from entrenous_consent import audit
from entrenous_consent.errors import Malformed, Unauthentic

NOTES = json.loads((Path(__file__).parents[1] / "vectors" / "audit_notes.json").read_text("utf-8"))
SIGNED = NOTES["signed"]
PETER = audit.parse_verifier_key(SIGNED[0]["key"])
SEED, OTHER_SEED = bytes(range(32)), bytes(32)
KEY, OTHER_KEY = audit.audit_key(SEED), audit.audit_key(OTHER_SEED)
ENTRIES = [audit.entry("erasure", time=1_790_000_000 + i, subject=b"", detail={"policy": 1}) for i in range(7)]
HASHES = [audit.leaf_hash(one) for one in ENTRIES]
LOG = "audit 2026-09"


def checkpoint(size: int, log: str = LOG) -> audit.Checkpoint:
    return audit.Checkpoint(log=log, size=size, root=audit.root(ENTRIES[:size]))


def note(size: int, seed: bytes = SEED, log: str = LOG) -> str:
    return audit.sign_checkpoint(checkpoint(size, log), seed)


# Notes


@pytest.mark.parametrize("vector", SIGNED, ids=lambda one: one["key"].partition("+")[0])
def test_a_published_note_opens_under_its_published_key(vector):
    key = audit.parse_verifier_key(vector["key"])
    assert str(key) == vector["key"]
    assert audit.open_note(vector["note"].encode(), key) == vector["text"]


def test_the_published_key_signs_the_published_note():
    seed = b64decode(SIGNED[0]["private"].split("+", 4)[4])[1:]
    assert audit.sign_note(SIGNED[0]["text"], "PeterNeumann", seed) == (SIGNED[0]["note"], PETER)


@pytest.mark.parametrize("vector", NOTES["refused"], ids=lambda one: one["what"])
def test_a_spoiled_note_is_refused(vector):
    with pytest.raises((Malformed, Unauthentic)):
        audit.open_note(vector["note"].encode(), PETER)


def test_what_an_unknown_key_signed_beside_ours_is_ignored():
    more = SIGNED[1]["note"].rpartition("\n\n")[2]
    assert audit.open_note((SIGNED[0]["note"] + more).encode(), PETER) == SIGNED[0]["text"]


def test_sixteen_signatures_are_read():
    more = SIGNED[1]["note"].rpartition("\n\n")[2] * 15
    assert audit.open_note((SIGNED[0]["note"] + more).encode(), PETER) == SIGNED[0]["text"]


@pytest.mark.parametrize("data", [b"\xff\n\n", b"x" * ((1 << 16) + 1), b"", b"\n\n", b"text\n\n\n"])
def test_what_is_no_note_is_refused(data):
    with pytest.raises(Malformed):
        audit.open_note(data, PETER)


def test_a_note_may_hold_blank_lines():
    text = "one\n\ntwo\n"
    signed, key = audit.sign_note(text, "shop.example/log", SEED)
    assert audit.open_note(signed.encode(), key) == text


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+c74f20a3+Apc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW=",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+AhpcÉ",
        "PeterNeumann+c74f20a3+" + b64encode(b"\2" + bytes(32)).decode(),
    ],
)
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(Malformed):
        audit.parse_verifier_key(text)


P = 2**255 - 19
SMALL = [0, 1, P - 1, 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826, P, P + 1, 2]
"""Points of order 1, 2, 4 and 8, encodings that are not canonical, and a y of no point."""


@pytest.mark.parametrize("y", SMALL, ids=range(len(SMALL)))
def test_a_key_that_anybody_could_sign_under_is_refused(y):
    for sign in (0, 1 << 255):
        key = audit.VerifierKey(name="a", public=(y | sign).to_bytes(32, "little"))
        with pytest.raises(Malformed, match="is not a verifier key"):
            audit.parse_verifier_key(str(key))


@pytest.mark.parametrize(
    ("text", "name"), [("no line end", "a"), ("a\tb\n", "a"), ("a\n", "a b"), ("a\n", ""), ("a\n", "a+b")]
)
def test_what_cannot_stand_in_a_note_is_a_mistake_of_ours(text, name):
    with pytest.raises(ValueError, match="can't stand in a note"):
        audit.sign_note(text, name, SEED)


# Checkpoints


def test_the_bytes_of_a_checkpoint_are_pinned():
    assert str(KEY) == "entrenous/audit-03a107bf+835d0c4d+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert sha256(note(7).encode()).hexdigest() == "b662905db6b593c93b0098c36051079f49173db8f6a8ac722362d6c44a9f82ac"
    assert note(7).split("\n")[:4] == [
        "entrenous/audit-03a107bf/2026-09",
        "7",
        b64encode(audit.root(ENTRIES)).decode(),
        "",
    ]


def test_a_checkpoint_is_read_as_it_was_signed():
    assert audit.read_checkpoint(note(7).encode(), KEY) == checkpoint(7)
    empty = audit.Checkpoint(log=LOG, size=0, root=audit.root([]))
    assert audit.read_checkpoint(audit.sign_checkpoint(empty, SEED).encode(), KEY) == empty


def test_a_checkpoint_of_another_store_is_refused():
    with pytest.raises(Unauthentic, match="not signed by this key"):
        audit.read_checkpoint(note(7, OTHER_SEED).encode(), KEY)


ROOT = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["7", ROOT, "more"], Malformed),
        (["7"], Malformed),
        (["07", ROOT], Malformed),
        (["-7", ROOT], Malformed),
        (["7" * 17, ROOT], Malformed),
        (["٧", ROOT], Malformed),
        (["7", b64encode(bytes(31)).decode()], Malformed),
        (["7", ROOT[:-2] + "B="], Malformed),
    ],
)
def test_what_our_key_signed_and_is_no_checkpoint_is_refused(lines, error):
    signed, _ = audit.sign_note("\n".join([f"{KEY.name}/2026-09", *lines, ""]), KEY.name, SEED)
    with pytest.raises(error):
        audit.read_checkpoint(signed.encode(), KEY)


@pytest.mark.parametrize("origin", ["entrenous/audit-00000000/2026-09", f"{KEY.name}/2026-13", f"{KEY.name}/x", "x"])
def test_a_checkpoint_of_another_origin_is_refused(origin):
    signed, _ = audit.sign_note(f"{origin}\n7\n{ROOT}\n", KEY.name, SEED)
    with pytest.raises(Unauthentic, match="not of a log of this key"):
        audit.read_checkpoint(signed.encode(), KEY)


# Proofs


@pytest.mark.parametrize("index", range(7))
def test_a_proof_shows_whoever_has_the_key_alone_that_an_entry_is_in_the_log(index):
    proof = audit.write_inclusion(ENTRIES[index], index, audit.inclusion_proof(HASHES, index), note(7))
    assert proof.startswith("c2sp.org/tlog-proof@v1\nextra ")
    found = audit.read_inclusion(proof.encode(), KEY)
    assert (found.entry, found.index, found.checkpoint) == (ENTRIES[index], index, checkpoint(7))


def test_a_proof_of_another_entry_place_path_or_log_is_refused():
    path = audit.inclusion_proof(HASHES, 2)
    for entry, index, steps, signed in (
        (ENTRIES[3], 2, path, note(7)),
        (ENTRIES[2], 3, path, note(7)),
        (ENTRIES[2], 2, path[:-1], note(7)),
        (ENTRIES[2], 2, path, note(6)),
        (ENTRIES[2], 2, path, note(7, OTHER_SEED)),
    ):
        with pytest.raises(Unauthentic):
            audit.read_inclusion(audit.write_inclusion(entry, index, steps, signed).encode(), KEY)


@pytest.mark.parametrize(("before", "after"), [(0, 7), (1, 7), (3, 7), (4, 6), (7, 7)])
def test_a_proof_shows_whoever_has_the_key_alone_that_a_log_only_grew(before, after):
    proof = audit.write_growth(before, audit.consistency_proof(HASHES[:after], before), note(after))
    found = audit.read_growth(proof.encode(), KEY, checkpoint(before))
    assert (found.before, found.checkpoint) == (before, checkpoint(after))


def test_a_log_that_was_rewritten_cannot_be_shown_to_have_grown():
    rewritten = [audit.leaf_hash(one) for one in ENTRIES[::-1]]
    proof = audit.write_growth(3, audit.consistency_proof(rewritten, 3), note(7))
    with pytest.raises(Unauthentic):
        audit.read_growth(proof.encode(), KEY, checkpoint(3))
    path = audit.consistency_proof(HASHES, 3)
    for size, signed, earlier in (
        (4, note(7), checkpoint(3)),
        (3, note(7, log="audit 2026-10"), checkpoint(3)),
        (3, note(7, OTHER_SEED), checkpoint(3)),
        (3, note(7), audit.Checkpoint(log=LOG, size=3, root=bytes(32))),
    ):
        with pytest.raises(Unauthentic):
            audit.read_growth(audit.write_growth(size, path, signed).encode(), KEY, earlier)


GOOD = audit.write_inclusion(ENTRIES[0], 0, audit.inclusion_proof(HASHES, 0), note(7))
GROWN = audit.write_growth(3, audit.consistency_proof(HASHES, 3), note(7))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("@v1", "@v2", 1),
        lambda text: text.replace("index 0", "index 00", 1),
        lambda text: text.replace("index 0", "place 0", 1),
        lambda text: text.replace("from 3", "from 03", 1),
        lambda text: text.replace("from 3", "since 3", 1),
        lambda text: text.replace("extra ", "extra _", 1),
        lambda text: text.replace("extra ", "", 1),
        lambda text: text.replace("\n\n", "\nAAAA\n\n", 1),
        lambda text: text.replace("\n\n", "\n" + "\n".join([ROOT] * 65) + "\n\n", 1),
        lambda text: "é" + text,
        lambda text: text.partition("\n")[2],
        lambda text: text + "x" * (1 << 18),
        lambda text: "",
        lambda text: "\n\n" + text.partition("\n\n")[2],
    ],
)
def test_a_spoiled_proof_is_refused(change):
    for text, read in (
        (GOOD, lambda data: audit.read_inclusion(data, KEY)),
        (GROWN, lambda data: audit.read_growth(data, KEY, checkpoint(3))),
    ):
        if change(text) != text:
            with pytest.raises((Malformed, Unauthentic)):
                read(change(text).encode())


# Vectors of a whole log

LOGS = json.loads((Path(__file__).parents[1] / "vectors" / "audit_log.json").read_text("utf-8"))
HELD = {log: [bytes.fromhex(one) for one in entries] for log, entries in LOGS["logs"].items()}
NEWEST = [audit.leaf_hash(one) for one in HELD["audit 2026-11"]]


def test_the_log_of_the_vectors_holds_every_kind_and_its_chain_is_whole():
    kinds = {log: [audit.read_entry(one).kind for one in entries] for log, entries in HELD.items()}
    assert kinds == LOGS["kinds"]
    assert {kind for some in kinds.values() for kind in some} == set(audit.KINDS)
    assert {log: audit.root(entries).hex() for log, entries in HELD.items()} == LOGS["roots"]
    assert audit.first_failure(HELD, now=1_794_600_000) is None


def test_checkpoint_leaf_hashes_and_proofs_are_those_of_the_vectors():
    seed, note = bytes.fromhex(LOGS["seed"]), LOGS["checkpoint"]
    assert str(audit.audit_key(seed)) == LOGS["key"]
    assert audit.sign_checkpoint(audit.checkpoint_of(HELD), seed) == note
    assert audit.write_leaves(HELD).hex() == LOGS["leaves"]
    index, before = LOGS["inclusion"]["index"], LOGS["growth"]["from"]
    path = audit.inclusion_proof(NEWEST, index)
    assert audit.write_inclusion(HELD["audit 2026-11"][index], index, path, note) == LOGS["inclusion"]["proof"]
    assert audit.write_growth(before, audit.consistency_proof(NEWEST, before), note) == LOGS["growth"]["proof"]


def open_all(vector: dict) -> None:
    """Read what the vectors hold as an outsider would, with what `vector` has in its place."""
    told = {"inclusion": LOGS["inclusion"]["proof"], "growth": LOGS["growth"]["proof"]}
    told |= {name: LOGS[name] for name in ("checkpoint", "leaves")} | vector
    key = audit.parse_verifier_key(LOGS["key"])
    signed = audit.read_checkpoint(told["checkpoint"].encode(), key)
    months = audit.read_leaves(bytes.fromhex(told["leaves"]), signed)
    assert audit.first_failure(HELD, signed, months, now=1_794_600_000) is None
    assert audit.read_inclusion(told["inclusion"].encode(), key).entry == HELD["audit 2026-11"][3]
    assert audit.read_growth(told["growth"].encode(), key, audit.read_checkpoint(LOGS["earlier"].encode(), key))


def test_the_vectors_open():
    open_all({})


@pytest.mark.parametrize("vector", LOGS["refused"], ids=lambda one: one["what"])
def test_a_spoiled_vector_is_refused(vector):
    with pytest.raises((Malformed, Unauthentic)):
        open_all(vector)
