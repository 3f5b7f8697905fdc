"""Upkeep: keys are wrapped anew while others write, and what was interrupted is finished by the next."""

from __future__ import annotations

import pytest
from tests.unit.test_consent_custody import ADA, BOB, NOW, POLICY, choose, custody, drawer_of, entries, host, keep

from entrenous_consent import audit, upkeep
from entrenous_consent.errors import Unauthentic, Unavailable
from entrenous_consent.sqlite import _integer
from entrenous_consent.upkeep import GENERATION_SECONDS, note, rotate, sweep, sweep_daily

__all__ = ["custody", "host"]


def test_what_lives_on_opens_after_a_rotation_and_the_old_key_is_gone(custody):
    choose(custody, "history", "measure")
    keep(custody, "history", b"hot", b"cold")
    before = drawer_of(custody, "history")
    assert rotate(custody, NOW) == 3
    assert custody.keyring.generation == 2
    assert custody.keyring.generation_key(1) is None
    drawer = drawer_of(custody, "history")
    assert (drawer.hot, drawer.cold, drawer.version) == (b"hot", b"cold", before.version)
    assert entries(custody)[-1][2:] == ["key.rotation", b"", {"generation": 2, "rewrapped": 3}]


def test_keys_of_epochs_that_are_over_go_with_an_entry_that_names_them(custody):
    choose(custody, "history")
    epoch = NOW // custody.epoch
    later = (epoch + 2) * custody.epoch
    custody.prepare(POLICY, later)
    before = len(entries(custody))
    sweep(custody, NOW)
    assert [one[2] for one in entries(custody)[before:]] == ["key.rotation"]
    sweep(custody, later)
    logs = [audit.read_entry(data) for log in custody.store.logs() for data in custody.store.log(log)]
    told = [one.detail for one in logs if one.kind == "key.rotation" and "epochs" in one.detail]
    assert told == [{"generation": 2, "epochs": [epoch]}]
    assert set(custody.keyring.epochs()) == {epoch + 2}
    assert sweep(custody, later) == 0
    assert sum(len(custody.store.log(log)) for log in custody.store.logs()) == len(logs)


def test_another_process_writes_through_a_rotation(host, custody):
    other = host.custody()
    choose(other, "history")
    rotate(custody, NOW)
    choose(other, "history", handle=BOB)
    keep(other, "history", b"hot")
    assert other.keyring.generation_key(1) is None
    assert drawer_of(custody, "history").hot == b"hot"
    assert drawer_of(custody, "history", handle=BOB)


def test_a_key_made_under_the_old_generation_is_turned_away_and_made_again(host, custody, monkeypatch):
    other, real = host.custody(), custody.store.rewrap
    assert other.standing(BOB, POLICY, NOW) is None  # it has read the keyring, and sees no reason to read it again

    def meanwhile(generation, wrap):
        told = real(generation, wrap)  # from here on no key of the old generation is taken
        choose(other, "history", handle=BOB)
        return told

    monkeypatch.setattr(custody.store, "rewrap", meanwhile)
    assert rotate(custody, NOW) == 0
    assert drawer_of(custody, "history", handle=BOB).version == 1


def test_a_rotation_that_was_interrupted_is_finished_by_the_next(custody, monkeypatch):
    choose(custody, "history")
    monkeypatch.setattr(custody.keyring, "destroy_generations", lambda before: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rotate(custody, NOW)
    monkeypatch.undo()
    assert drawer_of(custody, "history")
    assert rotate(custody, NOW + 1) == 0
    assert (custody.keyring.generation, custody.keyring.generation_key(1)) == (2, None)
    assert drawer_of(custody, "history")


def test_a_row_that_does_not_unwrap_holds_up_no_other(custody):
    choose(custody, "history")
    choose(custody, "history", handle=BOB)
    row = custody.standing(BOB, POLICY, NOW).row
    [(slot,)] = custody.store._query("select slot from records where name = ?", (_integer(row),))
    custody.store._writer.execute(
        "update slots set wrapped = ? where slot = ?", ((1).to_bytes(4, "big") + bytes(60), slot)
    )
    assert rotate(custody, NOW) == 3
    assert drawer_of(custody, "history")
    with pytest.raises(Unauthentic):
        custody.standing(BOB, POLICY, NOW)


def test_sweeping_wraps_anew_once_a_day(custody):
    choose(custody, "history")
    made = []
    for now in (NOW, NOW + GENERATION_SECONDS - 1, NOW + GENERATION_SECONDS):
        sweep(custody, now)
        made.append((custody.keyring.generation, custody.keyring.generation_made()))
    assert made == [(2, NOW), (2, NOW), (3, NOW + GENERATION_SECONDS)]


def test_the_daily_sweep_is_one_processes(host, custody):
    other = host.custody()
    assert sweep_daily(custody, NOW)
    assert not sweep_daily(other, NOW)
    assert not sweep_daily(custody, NOW + GENERATION_SECONDS - 1)
    assert sweep_daily(other, NOW + GENERATION_SECONDS)
    assert sweep_daily(custody, NOW)  # a clock that was set back holds nothing up


def test_a_rotation_that_was_interrupted_is_finished_by_the_next_sweep_not_a_day_later(custody, monkeypatch):
    choose(custody, "history")
    sweep(custody, NOW)
    monkeypatch.setattr(custody.keyring, "destroy_generations", lambda before: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep(custody, NOW + GENERATION_SECONDS)
    monkeypatch.undo()
    assert custody.keyring.generation_key(2) is not None
    sweep(custody, NOW + GENERATION_SECONDS + 1)
    assert custody.keyring.generation_key(2) is None
    assert drawer_of(custody, "history")


def test_a_clock_that_ran_ahead_puts_no_rotation_off(custody):
    sweep(custody, NOW + 2 * GENERATION_SECONDS)
    sweep(custody, NOW)
    assert (custody.keyring.generation, custody.keyring.generation_made()) == (3, NOW)


def test_a_daily_sweep_that_failed_is_taken_up_again_ten_minutes_later(host, custody, monkeypatch):
    other = host.custody()
    monkeypatch.setattr(custody.store, "sweep", lambda now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep_daily(custody, NOW)
    assert not sweep_daily(other, NOW + 599)
    assert sweep_daily(other, NOW + 600)
    assert not sweep_daily(custody, NOW + 599 + GENERATION_SECONDS)


def test_whoever_comes_second_to_the_daily_sweep_leaves_it(host, custody, monkeypatch):
    other, real = host.custody(), custody.store.transact
    swept = []
    monkeypatch.setattr(
        custody.store, "transact", lambda *a, **k: swept.append(sweep_daily(other, NOW)) or real(*a, **k)
    )
    assert not sweep_daily(custody, NOW)
    assert swept == [True]


def test_a_note_that_keeps_changing_gives_up(custody, monkeypatch):
    monkeypatch.setattr(custody.store, "transact", lambda *a, **k: "conflict")
    with pytest.raises(Unavailable, match="keeps changing"):
        note(custody, "activation", {"policy": 1, "policy_digest": "0" * 64}, NOW)


def test_a_refusal_is_noted_once_until_something_was_activated(host, custody):
    refused = {"error": "Forbidden", "what": "asks for more than the policy permits", "place": "bundle"}
    activated = {"policy": 1, "policy_digest": "0" * 64}
    assert note(custody, "refusal", refused, NOW)
    assert not note(host.custody(), "refusal", refused, NOW)
    assert note(custody, "activation", activated, NOW)
    assert not note(custody, "activation", activated, NOW)
    assert note(custody, "refusal", refused, NOW)
    assert [entry[2] for entry in entries(custody)] == ["refusal", "activation", "refusal"]


def test_no_row_of_upkeep_is_a_visitors(custody):
    sweep_daily(custody, NOW)
    note(custody, "activation", {"policy": 1, "policy_digest": "0" * 64}, NOW)
    assert custody.standing(ADA, POLICY, NOW) is None
    assert len({upkeep._note_name(kind) for kind in ("activation", "refusal", "sweep")}) == 3


def test_a_month_of_the_audit_log_is_dropped_when_its_time_is_over(custody):
    choose(custody, "history")
    (log,) = custody.store.logs()
    held = custody.store.log(log)
    over = audit.month_end(log) + 30 * 86_400
    sweep(custody, over - 1, audit_days=30)
    assert log in custody.store.logs()
    sweep(custody, over, audit_days=30)
    assert log not in custody.store.logs()
    kept = {name: custody.store.log(name) for name in custody.store.logs()}
    dropped = [one for one in map(audit.read_entry, kept[audit.log_name(over)]) if one.kind == "audit.dropped"]
    assert [one.detail for one in dropped] == [audit.summary(log, held)]
    assert audit.first_failure(kept, now=over, days=30) is None


def test_a_month_that_another_process_dropped_is_dropped_once(custody, monkeypatch):
    monkeypatch.setattr(custody.store, "logs", lambda: ["audit 2001-01"])
    sweep(custody, NOW)
    assert "audit.dropped" not in [one[2] for one in entries(custody)]
