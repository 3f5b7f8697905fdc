"""Somebody who can write the store edits, deletes, inserts, swaps or cuts entries of the audit log.

Whoever holds an exported checkpoint sees it, whatever is done to the entries before it, and is told the first that
fails. Random logs, every single change of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from entrenous_consent import audit
from entrenous_consent.errors import Refusal
from entrenous_consent.packing import pack

SEED = bytes(range(32))
KEY = audit.audit_key(SEED)
NOW = 1_790_000_000
LOG = audit.log_name(NOW)
FOREIGN = audit.entry("export", time=NOW, subject=b"", detail={"purposes": ["foreign"]})

Change = tuple[str, int, list[bytes]]
"""What was done, the first place that differs from then on, and the entries that are left."""


def written(numbers: list[int]) -> list[bytes]:
    return [audit.entry("erasure", time=NOW + n, subject=b"", detail={"policy": n}) for n in numbers]


logs = st.lists(st.integers(0, 30), min_size=1, max_size=24).map(written)
"""Entries may repeat: equal ones stand beside each other as often as not."""


def differs(before: list[bytes], after: list[bytes]) -> int:
    """Return the first place where the beginning of `after` is not `before`; -1 where there is none."""
    return next((i for i, one in enumerate(before) if after[i : i + 1] != [one]), -1)


def changes(entries: list[bytes]) -> Iterator[Change]:
    """Yield every single edit, deletion, insertion, swap and truncation that leaves another log."""
    count = len(entries)
    for i in range(count):
        yield "edit", i, [*entries[:i], FOREIGN, *entries[i + 1 :]]
        flipped = entries[i][:-1] + bytes([entries[i][-1] ^ 1])
        yield "one bit", i, [*entries[:i], flipped, *entries[i + 1 :]]
        yield "insertion", i, [*entries[:i], FOREIGN, *entries[i:]]
        yield "truncation", i, entries[:i]
        yield "deletion", -2, [*entries[:i], *entries[i + 1 :]]
        yield "repetition", -2, [*entries[:i], entries[i], *entries[i:]]
        for j in range(i + 1, count):
            swapped = entries.copy()
            swapped[i], swapped[j] = entries[j], entries[i]
            yield "swap", -2, swapped


def exported(entries: list[bytes]) -> tuple[audit.Checkpoint, tuple[audit.Month, ...]]:
    """Return what a holder reads from the two files that were exported: bytes, checked by the public key alone."""
    note = audit.sign_checkpoint(audit.checkpoint_of({LOG: entries}), SEED).encode()
    checkpoint = audit.read_checkpoint(note, KEY)
    return checkpoint, audit.read_leaves(audit.write_leaves({LOG: entries}), checkpoint)


def check(entries: list[bytes], later: list[bytes]) -> None:
    """Hold every single change of `entries`, alone and with entries behind it, against an export made before."""
    checkpoint, months = exported(entries)
    for what, place, changed in changes(entries):
        assert place in (differs(entries, changed), -2), what
        for after in ([], later):
            held = {LOG: [*changed, *after]}
            first = differs(entries, held[LOG])
            if first < 0:
                continue  # equal entries changed places, or what went came back behind: nothing was changed
            found = audit.first_failure(held, checkpoint, months, now=NOW)
            assert found is not None, what
            assert (found.log, found.index) == (LOG, first), what
            assert audit.first_failure(held, checkpoint, now=NOW) is not None, what


@seed(20261127)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs, logs)
def test_every_single_change_before_a_checkpoint_is_seen_and_its_first_entry_named(entries, later):
    check(entries, later)
    checkpoint, months = exported(entries)
    assert audit.first_failure({LOG: [*entries, *later]}, checkpoint, months, now=NOW) is None


@pytest.mark.parametrize("count", [63, 64, 65, 128, 200])
def test_every_single_change_of_a_longer_log_is_seen(count):
    entries = written(list(range(count)))
    checkpoint, months = exported(entries)
    for what, place, changed in changes(entries):
        first = differs(entries, changed)
        assert first in (place, -1) or place == -2, what
        if first >= 0 and (count < 100 or what != "swap" or first % 16 == 0):
            found = audit.first_failure({LOG: changed}, checkpoint, months, now=NOW)
            assert found is not None, what
            assert found.index == first, what


def chained(sizes: list[int]) -> dict[str, list[bytes]]:
    """Return months of these sizes, each sealed by the next, as a store writes them."""
    held: dict[str, list[bytes]] = {}
    for month, size in enumerate(sizes, 1):
        for i in range(size):
            newest = max(held, default="")
            wanted, time = f"audit 2026-{month:02}", NOW + 100 * month + i
            log, first = audit.placed(newest, wanted, lambda newest=newest: held[newest], time)
            data = audit.entry("erasure", time=time, subject=b"", detail={"policy": i})
            held.setdefault(log, []).extend([*first, data])
    return held


def test_every_single_change_in_every_month_before_a_checkpoint_is_seen_and_named():
    for sizes in ([1, 1], [3, 1, 4], [2, 5, 1, 3]):
        held = chained(sizes)
        checkpoint = audit.read_checkpoint(audit.sign_checkpoint(audit.checkpoint_of(held), SEED).encode(), KEY)
        months = audit.read_leaves(audit.write_leaves(held), checkpoint)
        assert audit.first_failure(held, checkpoint, months, now=NOW) is None
        for log, entries in held.items():
            for what, _, changed in changes(entries):
                first = differs(entries, changed)
                if first < 0 and log == checkpoint.log:
                    continue  # something was added behind the checkpoint
                found = audit.first_failure({**held, log: changed}, checkpoint, months, now=NOW)
                assert found is not None, what
                assert (found.log, found.index) == (log, first if first >= 0 else len(entries)), what
            gone = audit.first_failure(
                {name: kept for name, kept in held.items() if name != log}, checkpoint, months, now=NOW
            )
            assert gone == audit.Failure(log=log, index=0, what="missing")


@pytest.mark.parametrize("name", ["", "audit", "audit 1990-01", "audit 2099-01", "zzz"])
def test_a_log_that_was_put_beside_the_others_is_seen_whatever_its_name(name):
    held = chained([3, 2])
    assert audit.first_failure(held, now=NOW + 400 * 86_400) is None
    assert audit.first_failure({**held, name: [FOREIGN]}, now=NOW + 400 * 86_400) is not None


@seed(20261127)
@settings(max_examples=60, deadline=None)
@given(logs, st.data())
def test_a_rewritten_log_cannot_be_proved_to_have_grown(entries, data):
    size = data.draw(st.integers(1, len(entries)))
    rewritten = [*entries]
    rewritten[data.draw(st.integers(0, size - 1))] = FOREIGN
    before = exported(entries[:size])[0]
    path = audit.consistency_proof([audit.leaf_hash(one) for one in rewritten], size)
    assert not audit.verify_consistency(size, len(entries), path, before.root, audit.root(rewritten))
    forged = [*path, *data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=3))]
    assert not audit.verify_consistency(size, len(entries), forged, before.root, audit.root(rewritten))


@seed(20261127)
@settings(max_examples=200, deadline=None)
@given(logs, st.data())
def test_an_entry_that_is_not_in_the_log_cannot_be_proved_to_be(entries, data):
    leaves, size = [audit.leaf_hash(one) for one in entries], len(entries)
    index = data.draw(st.integers(0, size - 1))
    path, root = audit.inclusion_proof(leaves, index), audit.root_of(leaves)
    assert audit.verify_inclusion(leaves[index], index, size, path, root)
    assert not audit.verify_inclusion(audit.leaf_hash(FOREIGN), index, size, path, root)
    for place in range(size):
        if leaves[place] != leaves[index]:
            assert not audit.verify_inclusion(leaves[index], place, size, path, root)


@seed(20261127)
@settings(max_examples=200, deadline=None)
@given(logs, st.integers(0, 1 << 16), st.integers(0, 255), st.booleans())
def test_a_note_or_leaf_file_with_one_byte_changed_is_refused(entries, place, byte, of_note):
    """Nothing but a `Refusal` gets out of the readers, and what is not refused is what was signed."""
    held = {LOG: entries}
    checkpoint = audit.checkpoint_of(held)
    note, leaves = bytearray(audit.sign_checkpoint(checkpoint, SEED).encode()), bytearray(audit.write_leaves(held))
    spoiled = note if of_note else leaves
    spoiled[place % len(spoiled)] = byte
    try:
        found = audit.read_checkpoint(bytes(note), KEY)
        months = audit.read_leaves(bytes(leaves), found)
    except Refusal:
        return
    assert found == checkpoint
    assert audit.first_failure(held, found, months, now=NOW) is None


names = st.one_of(st.text(max_size=12), st.sampled_from([LOG, "audit 2026-08", "audit 2026-10", "audit 2031-01"]))
seals = st.builds(
    lambda kind, log, size: audit.entry(
        kind, time=NOW, subject=b"", detail={"log": log, "size": size, "root": audit.root([]).hex()}
    ),
    st.sampled_from(["audit.sealed", "audit.dropped"]),
    st.sampled_from([LOG, "audit 2026-08", "audit 2026-10", "audit 2031-01"]),
    st.integers(0, 3),
)
contents = st.one_of(st.binary(max_size=40), seals)


@seed(20261127)
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, st.lists(contents, max_size=4), max_size=5), st.booleans(), st.integers(-10, 10))
def test_whatever_stands_in_the_store_a_verification_answers(held, alone, years):
    checkpoint, months = exported(written([1, 2, 3]))
    now = NOW + years * 366 * 86_400
    found = audit.first_failure(held, checkpoint, () if alone else months, now=now)
    if held.get(LOG, [])[:3] != written([1, 2, 3]):
        assert found is not None
    audit.first_failure(held, now=now)


@seed(20261127)
@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=80).map(lambda text: f"{KEY.name}/2026-09\n{text}\n\n— {KEY.name} {text}\n".encode()),
        st.text(max_size=80).map(lambda text: f"c2sp.org/tlog-proof@v1\nextra \nindex {text}\n\n{text}".encode()),
        st.lists(st.binary(max_size=8), max_size=3).map(lambda some: pack({"format": 1, "logs": [some]})),
    )
)
def test_nothing_but_a_refusal_comes_of_what_strangers_send(data):
    checkpoint, _ = exported(written([1]))
    for read in (
        lambda: audit.open_note(data, KEY),
        lambda: audit.read_checkpoint(data, KEY),
        lambda: audit.read_inclusion(data, KEY),
        lambda: audit.read_growth(data, KEY, checkpoint),
        lambda: audit.read_leaves(data, checkpoint),
        lambda: audit.read_entry(data),
        lambda: audit.parse_verifier_key(data.decode("utf-8", "replace")),
    ):
        with pytest.raises(Refusal):
            read()
