"""Epochs do not bring back what was withdrawn: not a clock that ran ahead, not a length taken back, not a race."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.test_consent_custody import (
    ADA,
    DAY,
    EPOCH,
    LATER,
    NOW,
    POLICY,
    before_commit,
    choose,
    custody,
    drawer_of,
    host,
    keep,
)

from entrenous_consent.errors import Unavailable
from entrenous_consent.upkeep import sweep

__all__ = ["before_commit", "custody", "host"]

LONGER = replace(POLICY, epoch=2 * EPOCH, version=POLICY.version + 1)
START = LATER // EPOCH * EPOCH
"""The second at which the next epoch begins."""


def moved(custody, now=START):
    custody.prepare(POLICY, now)
    return custody.standing(ADA, POLICY, now)


def test_a_refusal_holds_when_an_epoch_comes_that_a_wrong_clock_had_begun(custody):
    choose(custody, "history")
    keep(custody, "history", b"hot", b"cold")
    assert moved(custody, LATER).granted == {"history"}
    assert custody.standing(ADA, POLICY, NOW) is None
    choose(custody)
    assert custody.standing(ADA, POLICY, LATER).granted == frozenset()


def test_a_refusal_holds_when_a_policy_takes_back_an_epoch_length(custody, host):
    choose(custody, "history")
    keep(custody, "history", b"hot", b"cold")
    custody.prepare(LONGER, NOW)
    choose(custody, policy=LONGER)
    custody.prepare(POLICY, NOW)
    assert custody.standing(ADA, POLICY, NOW) is None
    assert len(host.rows()) == 1


def test_what_an_epoch_length_that_is_taken_back_had_kept_stands_where_nothing_was_chosen_since(custody):
    choose(custody, "history")
    keep(custody, "history", b"hot")
    custody.prepare(LONGER, NOW)
    assert custody.standing(ADA, LONGER, NOW) is None
    custody.prepare(POLICY, NOW)
    assert drawer_of(custody, "history").hot == b"hot"


def test_a_withdrawal_at_the_end_of_an_epoch_holds_where_another_process_moves_the_visitor(
    custody, host, before_commit
):
    other = host.custody()
    choose(custody, "history", now=START - DAY)
    withdrawals = custody.counters.words[0]
    before_commit(other, lambda: moved(custody))
    assert choose(other, now=START - 1) == "done"
    assert custody.counters.words[0] > withdrawals
    assert custody.standing(ADA, POLICY, START).granted == frozenset()
    assert len(host.rows()) == 1


def test_an_erasure_at_the_end_of_an_epoch_holds_where_another_process_moves_the_visitor(custody, host, before_commit):
    other = host.custody()
    choose(custody, "history", now=START - DAY)
    keep(custody, "history", b"hot", b"cold", now=START - DAY)
    before_commit(other, lambda: moved(custody))
    assert other.erase(ADA, POLICY, START - 1) == "done"
    assert host.rows() == {}
    assert custody.standing(ADA, POLICY, START) is None


def test_an_erasure_that_others_keep_undoing_is_not_confirmed(custody, monkeypatch):
    choose(custody, "history")
    monkeypatch.setattr(custody.store, "transact", lambda writes, **_: "done")
    with pytest.raises(Unavailable, match="keeps changing under this erasure"):
        custody.erase(ADA, POLICY, NOW)


def test_an_erasure_reaches_what_an_epoch_length_before_had_kept_while_its_keys_live(custody, host):
    choose(custody, "history")
    keep(custody, "history", b"hot", b"cold")
    sweep(custody, NOW)
    custody.prepare(LONGER, NOW)
    sweep(custody, NOW)
    assert custody.standing(ADA, LONGER, NOW) is None
    assert len(host.rows()) > 0
    assert custody.erase(ADA, LONGER, NOW) == "done"
    assert host.rows() == {}
    old = NOW // EPOCH
    assert old in custody.keyring.epochs()
    sweep(custody, NOW + 2 * EPOCH)
    assert old not in custody.keyring.epochs()


# Contributions


def enrol(custody, value, now=NOW):
    standing = custody.standing(ADA, POLICY, now)
    pending = custody.pending(ADA, standing, "measure", now)
    pending.value, pending.due = value, now
    assert custody.save(ADA, standing, [], now, pending=[pending]) == "done"


def test_a_release_counts_no_contribution_that_was_erased_and_harms_none_that_came_after(custody):
    choose(custody, "measure")
    enrol(custody, b"before")
    [owed] = custody.owed(NOW, "measure")
    custody.erase(ADA, POLICY, NOW)
    choose(custody, "measure")
    enrol(custody, b"after")
    assert custody.settle([owed], [], NOW) == "dropped"
    [owed] = custody.owed(NOW, "measure")
    assert owed.value == b"after"
    assert custody.settle([owed], [], NOW) == "done"


def test_a_contribution_that_moved_to_a_new_epoch_is_counted_there(custody):
    choose(custody, "measure", now=START - DAY)
    enrol(custody, b"waits", now=START - DAY)
    moved(custody)
    [owed] = custody.owed(START, "measure")
    assert (owed.value, custody.settle([owed], [], START)) == (b"waits", "done")
