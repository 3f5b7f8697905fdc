"""Promise 3, one door out: nothing about visitors leaves but reports, and a report shows no one.

The shop's policy releases every 30 days, a month after the exposure: day 60 is the first.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.shop import DAY, NOON, Shop

from entrenous import Client
from entrenous.loop.contributions import HOLDOUT
from entrenous.loop.reports import read_report
from entrenous.messages.sending import send
from entrenous_consent.errors import Malformed, Unavailable

MEASURE = {"measure": True, "personalize": True}


class Sink:
    """A collector in memory."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.answers: list[Exception] = []

    def deliver(self, report: bytes, signature: str) -> None:
        if self.answers:
            raise self.answers.pop(0)
        self.taken.append(report)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def crowd(shop: Shop, sink: Sink) -> Client:
    client = shop.open(crowd=True, collector=sink, release_seconds=0)
    client.release()  # the experiment begins
    return client


@pytest.fixture
def exposed(shop: Shop, crowd: Client) -> Callable[..., list]:
    """Let visitors choose and be exposed; return them."""

    def some(count: int, choices=MEASURE, *, name: str = "v", orders: int = 0) -> list:
        visitors = [crowd.visitor(f"{name}-{i}") for i in range(count)]
        for visitor in visitors:
            assert visitor.consent(choices).accepted
            visitor.decide("promotion", "none")
            for order in range(orders):
                visitor.observe("purchase", value=5000, currency="EUR", transaction_id=f"{order}")
        return visitors

    return some


def _release(shop: Shop, crowd: Client, days: int = 60) -> list:
    """Let time pass and release; return the reports that were made."""
    shop.clock.now = NOON + days * DAY
    outcome = crowd.release()
    assert outcome.accepted, outcome
    made = {bytes.fromhex(one) for one in outcome.data["reports"]}
    return [read_report(one.data) for one in crowd.outbox() if one.id in made]


def _counts(report) -> int:
    """Return the noisy number of visitors in the cells that show."""
    return sum(sums[0] for sums in report.cells.values() if sums is not None)


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the noise and the threshold away, to see who was in a report."""
    monkeypatch.setattr("entrenous.loop.reports.discrete_laplace", lambda scale, below: 0)
    monkeypatch.setattr("entrenous.loop.reports.threshold", lambda *_: 1)


def test_a_crowd_shows_with_noise_and_a_few_do_not(shop, crowd, exposed):
    exposed(600, orders=1)
    exposed(30, {"measure": True}, name="unscored")
    (report,) = _release(shop, crowd)
    shown = {cell for cell, sums in report.cells.items() if sums is not None}
    assert shown
    assert all(segment == "personalize" for _, _, segment in shown), "30 under a threshold of 20 + 36"
    assert all(report.cells[cell][0] >= report.mechanism.threshold for cell in shown)
    assert len(report.cells) == 8
    assert abs(_counts(report) - 600) < 150


def test_everyone_exposed_counts_once_by_assignment_and_tranche(shop, crowd, exposed, noiseless):
    visitors = exposed(80, orders=2)
    for visitor in visitors:
        visitor.decide("promotion", "none")
    exposed(20, {"measure": True}, name="unscored")
    (report,) = _release(shop, crowd)
    sums = {cell: sums for cell, sums in report.cells.items() if sums is not None}
    assert sum(one[0] for one in sums.values()) == 100
    assert sum(one[0] for cell, one in sums.items() if cell[2] == "personalize") == 80
    for (arm, tranche, segment), (visitors_, converters, orders, orders2, revenue, *_) in sums.items():
        assert arm in (HOLDOUT, "none", "ten_off", "double_points")
        assert bool(tranche) == (segment == "personalize")
        expected = (visitors_, 2 * visitors_, 4 * visitors_, 10 * visitors_) if tranche else (0, 0, 0, 0)
        assert (converters, orders, orders2, revenue) == expected


def test_who_did_not_grant_measuring_is_in_no_report(shop, crowd, exposed, noiseless):
    exposed(40, {"personalize": True})
    exposed(5, {}, name="refused")
    for i in range(5):
        crowd.visitor(f"unknown-{i}").decide("promotion", "none")
    assert not crowd._engine.custody.owed(NOON + 100 * DAY, "measure")
    (report,) = _release(shop, crowd)
    assert _counts(report) == 0


def test_a_withdrawal_before_the_release_takes_the_contribution_out(shop, crowd, exposed, noiseless):
    visitors = exposed(50, orders=1)
    for visitor in visitors[:20]:
        assert visitor.consent({"personalize": True}).accepted
    for visitor in visitors[20:25]:
        assert visitor.erase().accepted
    (report,) = _release(shop, crowd)
    assert _counts(report) == 25


def test_a_withdrawal_in_the_middle_of_a_release_takes_it_out_too(shop, crowd, exposed, noiseless, monkeypatch):
    """Between the reading and the transaction: the whole release is drawn anew."""
    visitors = exposed(50)
    custody = crowd._engine.custody
    settle, calls = custody.settle, []

    def overtaken(*arguments):
        if not calls:
            assert visitors[0].consent({}).accepted
        calls.append(arguments)
        return settle(*arguments)

    monkeypatch.setattr(custody, "settle", overtaken)
    (report,) = _release(shop, crowd)
    assert len(calls) == 2
    assert _counts(report) == 49


def test_a_purpose_that_was_widened_is_measured_for_nobody_who_agreed_before(shop, crowd, exposed, noiseless):
    exposed(30)
    text = shop.policy.read_text()
    purpose = text.partition("[purposes.measure]")[2]
    shop.policy.write_text(text.replace(purpose, purpose.replace("consent_version = 1", "consent_version = 2", 1), 1))
    shop.publish()
    assert crowd.refresh().data["policy"] == 2
    (report,) = _release(shop, crowd)
    assert _counts(report) == 0
    assert not crowd._engine.custody.owed(shop.clock.now, "measure")


def test_a_choice_that_the_policy_has_shortened_is_measured_for_nobody_it_has_run_out_for(
    shop, crowd, exposed, noiseless
):
    exposed(30)
    text = shop.policy.read_text()
    purpose = text.partition("[purposes.measure]")[2]
    shop.policy.write_text(text.replace(purpose, purpose.replace("lifetime_days = 180", "lifetime_days = 5", 1), 1))
    shop.publish()
    assert crowd.refresh().data["policy"] == 2
    (report,) = _release(shop, crowd)
    assert _counts(report) == 0
    assert not crowd._engine.custody.owed(shop.clock.now, "measure")


def test_nobody_is_in_two_releases_of_an_experiment(shop, crowd, exposed, noiseless):
    visitors = exposed(40, orders=1)
    (first,) = _release(shop, crowd, 60)
    for visitor in visitors:
        visitor.decide("promotion", "none")
        visitor.observe("purchase", value=100, currency="EUR")
    exposed(7, name="later")
    (second,) = _release(shop, crowd, 90)
    (third,) = _release(shop, crowd, 120)
    assert [_counts(one) for one in (first, second, third)] == [40, 7, 0]


def test_when_a_report_is_made_depends_on_the_calendar_alone(shop, crowd, exposed):
    """Somebody or nobody: the same reports, with the same cells, at the same times."""
    assert [len(_release(shop, crowd, day)) for day in (1, 59, 60, 61, 89, 90)] == [0, 0, 1, 0, 0, 1]
    report = read_report(crowd.outbox()[0].data)
    assert set(report.cells.values()) == {None}
    assert len(report.cells) == 8


def test_one_visitor_moves_a_report_by_at_most_the_bounds(shop, crowd, exposed, noiseless):
    """The greediest visitor there can be, against the same shop without."""
    exposed(30)
    greedy = exposed(1, name="greedy")[0]
    for order in range(200):
        greedy.observe("purchase", value=10**9, currency="EUR", transaction_id=f"{order}")
    (report,) = _release(shop, crowd)
    moved = [sum(column) for column in zip(*(sums for sums in report.cells.values() if sums), strict=True)]
    assert moved[1:] == list(report.mechanism.bounds[1:])


def test_a_device_of_one_person_sends_nothing(shop, sink):
    """Until there is local randomisation, no call and no waiting makes it."""
    device = shop.open(collector=sink)
    visitor = device.visitor("me")
    visitor.consent(device.example_choices)
    visitor.decide("promotion", "none")
    visitor.observe("purchase", value=100, currency="EUR")
    assert device._engine.custody.owed(NOON + 100 * DAY, "measure") == [], "nothing waits that will never be sent"
    assert "contributions" not in visitor.export().data["purposes"]["measure"]
    for day in (0, 60, 90, 400):
        shop.clock.now = NOON + day * DAY
        assert device.release().cause == "one_person"
        assert device.send().cause == "no_collector"
        device.flush()
    assert device.outbox() == []
    assert sink.taken == []
    assert device._releaser is None


def test_without_a_collector_reports_stay_where_they_are(shop):
    client = shop.open(crowd=True, release_seconds=0)
    client.release()
    assert len(_release(shop, client)) == 1
    assert client.send().cause == "no_collector"
    assert [one.sent for one in client.outbox()] == [0]


def test_what_is_sent_is_what_was_written_always(shop, crowd, sink, exposed):
    exposed(60)
    _release(shop, crowd)
    (written,) = [one.data for one in crowd.outbox()]
    sink.answers = [Unavailable("answers 503"), Unavailable("can't be reached")]
    assert crowd.send().cause == "unavailable"
    assert crowd.send().cause == "unavailable"
    assert crowd.send().data == {"sent": 1}
    assert crowd.send().data == {"sent": 0}
    assert sink.taken == [written]
    assert [one.data for one in crowd.outbox()] == [written]
    assert crowd.outbox()[0].sent == shop.clock.now


def test_a_report_refused_for_good_is_kept_and_holds_up_no_other(shop, crowd, sink, exposed):
    _release(shop, crowd, 60)
    _release(shop, crowd, 90)
    sink.answers = [Malformed("refuses a report (401)")]
    assert crowd.send().cause == "malformed"
    assert len(sink.taken) == 1
    assert [bool(one.sent) for one in crowd.outbox()] == [False, True]


def test_a_spent_budget_releases_nothing_and_drops_what_was_due(shop, exposed, sink):
    shop.policy.write_text(shop.policy.read_text().replace("lifetime_epsilon = 12.0", "lifetime_epsilon = 4.0"))
    client = shop.open(crowd=True, collector=sink, release_seconds=0)
    ledger_spent = client._engine.active.trials["promotion"].report
    assert ledger_spent.lifetime_epsilon == 4.0
    client.release()
    from entrenous.loop.ledger import Ledger
    from entrenous.loop.release import LEDGER
    from entrenous_consent.store import Put

    store = client._engine.custody.store
    row = store.read(LEDGER, NOON)
    spent = Ledger.unpack(row.value).opened("promotion", "an_older_one", NOON)
    spent = spent.debited(ledger_spent, "an_older_one", NOON)
    put = Put(name=LEDGER, value=spent.pack(), expires=1 << 53, expect=row.version)
    assert store.transact([put], now=NOON, durable=True) == "done"
    visitor = client.visitor("v")
    visitor.consent(MEASURE)
    visitor.decide("promotion", "none")
    shop.clock.now = NOON + 60 * DAY
    outcome = client.release()
    assert (outcome.accepted, outcome.cause) == (False, "forbidden")
    assert "4 of 4 epsilon" in outcome.message
    assert client.outbox() == []
    assert client._engine.custody.owed(shop.clock.now, "measure") == []


def test_the_cell_a_visitor_is_in_shows_in_no_report_of_many_draws(shop, crowd, exposed):
    """A crowd of one, released: 200 draws of its cell's noise never reach the threshold (delta 1e-9)."""
    exposed(1)
    active = crowd._engine.active
    trial = active.trials["promotion"]
    from entrenous.loop.reports import cells_of, mechanism_of, noised

    mechanism, cells = mechanism_of(trial.report), cells_of(trial.rule, trial.report)
    chance = random.Random(3)
    for _ in range(200):
        found = noised({cells[0]: [1] * 7}, cells, mechanism, chance.randrange)
        assert set(found.values()) == {None}


def test_no_identifier_and_no_handle_is_in_what_leaves_or_waits(shop, crowd, sink, exposed):
    name = "canary-ada@example.org"
    visitor = crowd.visitor(name)
    visitor.consent(MEASURE)
    visitor.decide("promotion", "none")
    visitor.observe("purchase", value=100, currency="EUR", transaction_id=name, id=name)
    exposed(60)
    _release(shop, crowd)
    crowd.send()
    left = b"".join(sink.taken)
    assert left
    for canary in (name.encode(), visitor._handle):
        assert canary not in left
        assert not any(canary in data for data in shop.files().values())


def test_a_visitors_own_export_tells_what_waits_and_what_was_given(shop, crowd, exposed):
    (visitor,) = exposed(1, orders=2)
    waiting = visitor.export().data["purposes"]["measure"]["contributions"]["promotion_1"]
    assert (waiting["orders"], waiting["revenue"], waiting["contributed"]) == (2, 10_000, False)
    _release(shop, crowd)
    assert visitor.export().data["purposes"]["measure"]["contributions"]["promotion_1"]["contributed"] is True


def test_an_exposure_that_can_not_be_kept_is_not_counted_and_the_visitor_does_not_wait(shop, crowd, exposed):
    (visitor,) = exposed(1, {})
    assert visitor.consent(MEASURE).accepted
    other = shop.open()._engine.custody.store
    with other._transaction(durable=False, deletes=False):
        assert visitor.decide("promotion", "none").reason in ("TARGETING_MATCH", "SPLIT")
    assert crowd._engine.custody.owed(NOON + 100 * DAY, "measure") == []
    visitor.decide("promotion", "none")
    assert len(crowd._engine.custody.owed(NOON + 100 * DAY, "measure")) == 1


def test_a_visitor_who_moves_to_a_new_epoch_takes_the_contribution_along(shop, crowd, exposed, noiseless):
    epoch = crowd.policy.epoch
    shop.clock.now = (NOON // epoch + 1) * epoch - DAY
    visitors = exposed(5)
    shop.clock.now += 2 * DAY
    for visitor in visitors:
        visitor.observe("purchase", value=5000, currency="EUR")
    shop.clock.now += 60 * DAY
    made = crowd.release().data["reports"]
    assert len(made) == 1
    (report,) = [read_report(one.data) for one in crowd.outbox()]
    assert _counts(report) == 5
    assert sum(sums[2] for sums in report.cells.values() if sums) == 5


def test_the_release_is_in_the_audit_log_without_figures(shop, crowd, exposed):
    exposed(60)
    (report,) = _release(shop, crowd)
    from entrenous_consent.audit import log_name
    from entrenous_consent.packing import unpack

    entries = [
        unpack(entry, place="entry", longest=1 << 16)
        for entry in crowd._engine.custody.store.log(log_name(shop.clock.now))
    ]
    (released,) = [entry for entry in entries if entry[2] == "release"]
    assert released[3] == b""
    assert released[4]["id"] == report.id.hex()
    assert set(released[4]) == {"report", "experiment", "id", "epsilon", "cells", "suppressed"}


def test_send_stops_at_a_collector_that_is_gone(crowd, shop, sink):
    for day in (60, 90):
        _release(shop, crowd, day)
    sink.answers = [Unavailable("can't be reached")]
    store, keyring = crowd._engine.custody.store, crowd._keyring
    taken, refused = send(store, keyring, sink, NOON)
    assert (taken, type(refused)) == (0, Unavailable)
    assert sink.taken == []
    assert send(store, keyring, sink, NOON) == (2, None)
