"""Two clients on one store, driven at random beside a model of what a visitor may expect."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.shop import NOON, Clock, Shop

from entrenous import Client, demo
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.features import DECAY_SCALE, Feature, decay_weights, parse_feature
from entrenous_consent.parsing import Table
from entrenous_consent.pseudonyms import bucket, keyed

HOUR, DAY = 3600, 86_400
LIFETIMES = {"personalize": 180 * DAY, "history": 60 * DAY, "measure": 3 * DAY, "improve": 180 * DAY}
RETENTION = {"personalize": 90 * DAY, "history": 90 * DAY}
EPOCH = 400 * DAY
CAP, CAP_DAYS, HOLDOUT = 3, 2, 2_000
NAMES = ("customer-1", "customer-2")
SPOKEN = ("sandals", "slippers", "bags", "sneakers", "boots")

clients = st.integers(0, 1)
visitors = st.sampled_from(NAMES)
everything = dict.fromkeys(LIFETIMES, True)
choices = st.one_of(
    st.just(everything),
    st.sampled_from(sorted(LIFETIMES)).map(lambda refused: {one: one != refused for one in LIFETIMES}),
    st.dictionaries(st.sampled_from(sorted(LIFETIMES)), st.booleans()),
)
events = st.fixed_dictionaries(
    {"name": st.sampled_from(["view_item", "view_item", "purchase", "add_to_cart", "share"])},
    optional={
        "category": st.sampled_from([*SPOKEN[:3], "unlisted"]),
        "id": st.sampled_from(["e-1", "e-2"]),
        "ago": st.sampled_from([0, 1, 12 * HOUR, DAY, 6 * DAY, 7 * DAY, 31 * DAY, 100 * DAY]),
        "money": st.sampled_from([0, 1, 4900, 10**10]),
    },
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([0, 1.5, -3, 1e30, 1e39, 10**400, math.inf, math.nan]),
        "loyalty": st.sampled_from(["new", "old", "unlisted"]),
    },
)
LAST = NOON + 3640 * DAY
"""Ten years, in which bundle and signatures hold."""
steps = st.one_of(
    st.sampled_from([1, 2, HOUR - 1, HOUR, 12 * HOUR - 1, 12 * HOUR]),
    st.integers(0, 3 * DAY),
    st.sampled_from([DAY, 2 * DAY, 3 * DAY, 7 * DAY, 30 * DAY, 60 * DAY - 1, 60 * DAY, 82 * DAY]),
    st.sampled_from([89 * DAY, 90 * DAY - 1, 90 * DAY, 180 * DAY - 1, 180 * DAY, 400 * DAY]),
)


@dataclass
class Record:
    """What one purpose keeps of one visitor, and until when."""

    until: int
    cold_until: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[int, int] = field(default_factory=dict)
    receipts: list[tuple[int, int]] = field(default_factory=list)
    ids: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Person:
    """A visitor as the model knows them."""

    grants: dict[str, int] = field(default_factory=dict)
    until: int = 0
    consent: int = 0
    epoch: int = 0
    records: dict[str, Record] = field(default_factory=dict)


@dataclass
class Pending:
    """What one client has yet to tell the store of one visitor, under one consent."""

    consent: int
    receipts: list[tuple[int, int]] = field(default_factory=list)
    shown: Counter[int] = field(default_factory=Counter)


def shop_in(home: Path) -> Shop:
    """A shop with a low cap, a wide holdout, short-lived purposes, and two things it is told with a decision."""
    shop = Shop(home, Clock())
    text = shop.policy.read_text()
    for purpose, lifetime in LIFETIMES.items():
        head, tail = text.split(f"[purposes.{purpose}]")
        text = (
            head
            + f"[purposes.{purpose}]"
            + tail.replace("lifetime_days = 180", f"lifetime_days = {lifetime // DAY}", 1)
        )
    shop.policy.write_text(text)
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    rule = replace(
        rule,
        choice={tranche: {"ten_off": 10_000} for tranche in rule.tranches},
        cap=replace(rule.cap, decisions=CAP, days=CAP_DAYS),
        experiment=replace(rule.experiment, holdout=HOLDOUT),
    )
    features = list(read.manifest.features)
    features[5] = told(features[5], field="size")
    features[8] = told(features[8], field="loyalty", values=["new", "old"])
    manifest = replace(read.manifest, features=tuple(features), decisions={"promotion": rule}, expires=LAST)
    shop.bundle.write_bytes(encode_bundle(replace(manifest, proofs={}), read.models))
    return shop


def told(feature: Feature, **changes: object) -> Feature:
    """The feature as one that is handed over with the decision."""
    kept = {key: getattr(feature, key) for key in ("name", "purpose", "category", "source", "retention_days")}
    return parse_feature(Table({**kept, "kind": "context", **changes}))


def computed(feature: Feature, happened: list[dict[str, Any]], now: int) -> float:
    """A feature from the events themselves, as `entrenous.features.declare` says it."""
    seen = [
        event
        for event in happened
        if event["name"] == feature.event and now // DAY - feature.window < event["time"] // DAY <= now // DAY
    ]
    if feature.kind == "count":
        return float(len(seen))
    if feature.kind == "sum":
        return float(sum(event.get(feature.field, 0) for event in seen))
    if feature.kind == "top":
        counts = Counter(event["category"] for event in seen if event.get("category") in feature.values)
        most = max(counts.values(), default=0)
        return float(min((feature.values.index(name) for name, n in counts.items() if n == most), default=math.nan))
    assert feature.kind == "decayed_sum"
    weights = decay_weights(feature.half_life, feature.window)
    whole = sum(event.get(feature.field, 0) * weights[now // DAY - event["time"] // DAY] for event in seen)
    return whole / DECAY_SCALE


class Visitors(RuleBasedStateMachine):
    """Random choices, events, decisions, flushes, erasures, exports, sweeps and leaps in time."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.shop = shop_in(Path(self.folder.name))
        self.clients = [self.shop.open(), self.shop.open()]
        self.features = self.clients[0]._engine.active.bundle.manifest.features
        self.people = {name: Person() for name in NAMES}
        self.pending: list[dict[str, Pending]] = [{}, {}]
        self.consents = 0
        mac = keyed(demo.PUBLIC_KEYS["promotion_1"])
        handles = {name: self.clients[0].visitor(name)._handle for name in NAMES}
        self.held_out = {name: bucket(mac, handle) < HOLDOUT for name, handle in handles.items()}
        assert sorted(self.held_out.values()) == [False, True]
        for name in NAMES:
            self.consent(0, name, everything)

    @property
    def now(self) -> int:
        return self.shop.clock.now

    # The model

    def granted(self, name: str) -> set[str]:
        return {purpose for purpose, until in self.people[name].grants.items() if self.now < until}

    def record(self, name: str, purpose: str) -> Record:
        """What can be read of a purpose now."""
        record = self.people[name].records.get(purpose)
        if record is None or self.now >= record.until:
            return Record(until=0)
        if self.now >= record.cold_until:
            record = replace(record, receipts=[], ids=[])
        return record

    def written(self, name: str, purpose: str, record: Record, *, cold: bool) -> None:
        record.until = min(self.people[name].grants[purpose], self.now + RETENTION[purpose])
        if cold:
            record.cold_until = record.until
        self.people[name].records[purpose] = record

    def touched(self, name: str) -> bool:
        """A write brings the visitor into this epoch, under a new consent row; say whether anything is known."""
        person = self.people[name]
        if self.now >= person.until:
            return False
        if person.epoch != self.now // EPOCH:
            person.epoch = self.now // EPOCH
            person.consent = self.fresh()
        return True

    def fresh(self) -> int:
        self.consents += 1
        return self.consents

    def brought(self, client: int, name: str) -> None:
        """What waits in one client reaches the store, if its consent still stands."""
        pending = self.pending[client].pop(name, None)
        if pending is None or not self.touched(name) or pending.consent != self.people[name].consent:
            return
        if "personalize" not in self.granted(name):
            return
        record = self.record(name, "personalize")
        record.receipts = [*record.receipts, *pending.receipts][-20:]
        for day, count in sorted(pending.shown.items()):
            known = Counter(record.shown)
            known[day] += count
            record.shown = {one: n for one, n in known.items() if one > day - CAP_DAYS}
        self.written(name, "personalize", record, cold=True)

    def shown(self, client: int, name: str) -> int:
        """How many arms this client knows to have been given within the cap's window."""
        days = Counter(self.record(name, "personalize").shown)
        pending = self.pending[client].get(name)
        if pending is not None and pending.consent == self.people[name].consent:
            days += pending.shown
        return sum(count for day, count in days.items() if self.now // DAY - CAP_DAYS < day)

    def vector(self, name: str, context: dict[str, Any]) -> list[float]:
        values = []
        for feature in self.features:
            happened = self.record(name, feature.purpose).events
            if feature.purpose not in self.granted(name):
                values.append(math.nan)
            elif feature.kind != "context":
                values.append(computed(feature, happened, self.now))
            elif feature.field == "hour":
                values.append(float(self.now // HOUR % 24))
            elif feature.field == "size":
                number = context.get("size", math.nan)
                values.append(number if -3e38 < number < 3e38 else math.nan)
            else:
                values.append(float({"new": 0, "old": 1}.get(context.get("loyalty", ""), math.nan)))
        return values

    # What happens

    @rule(client=clients, name=visitors, choices=choices)
    def consent(self, client: int, name: str, choices: dict[str, bool]) -> None:
        assert self.clients[client].visitor(name).consent(choices).accepted
        self.brought(client, name)
        person, before = self.people[name], self.granted(name)
        wanted = {purpose for purpose, choice in choices.items() if choice}
        person.grants = {purpose: self.now + LIFETIMES[purpose] for purpose in wanted}
        person.until = self.now + max(LIFETIMES.values())
        person.consent, person.epoch = self.fresh(), self.now // EPOCH
        person.records = {purpose: kept for purpose, kept in person.records.items() if purpose in wanted & before}
        for purpose in wanted - before:
            person.records[purpose] = Record(until=person.grants[purpose])

    @rule(client=clients, name=visitors)
    def change_their_mind_twice(self, client: int, name: str) -> None:
        self.consent(client, name, {})
        self.consent(client, name, everything)

    @rule(client=clients, name=visitors, event=events)
    def observe(self, client: int, name: str, event: dict[str, Any]) -> None:
        described = {key: event[key] for key in ("category", "id") if key in event}
        described["time"] = self.now - event.get("ago", 0)
        if "money" in event:
            described |= {"price": event["money"], "value": event["money"], "currency": "EUR"}
        outcome = self.clients[client].visitor(name).observe(event["name"], **described)
        purpose = {"purchase": "history", "share": ""}.get(event["name"], "personalize")
        if not self.touched(name) or (purpose and purpose not in self.granted(name)):
            assert (outcome.accepted, outcome.cause) == (False, "consent_missing")
            return
        record, known = self.record(name, purpose), event.get("id")
        ids = [(time, one) for time, one in record.ids if self.now - time < DAY]
        if purpose and known and any(one == known for _, one in ids):
            assert (outcome.accepted, outcome.cause) == (False, "duplicate")
            return
        assert outcome.accepted
        if purpose:
            record.events.append({"name": event["name"], **described})
            if known:
                record.ids = [*ids, (self.now, known)]
                self.written(name, purpose, record, cold=True)
            else:
                stored = self.people[name].records.get(purpose)
                if stored is not None and self.now < stored.until:
                    record.receipts, record.ids = stored.receipts, stored.ids
                self.written(name, purpose, record, cold=False)

    @rule(name=visitors, context=contexts, order=st.lists(clients, min_size=1, max_size=4))
    def decide(self, name: str, context: dict[str, Any], order: list[int]) -> None:
        for client in order:
            self.decide_on(client, name, context)

    def decide_on(self, client: int, name: str, context: dict[str, Any]) -> None:
        granted = self.granted(name)
        decision = self.clients[client].visitor(name).decide("promotion", "fallback", context)
        if "personalize" not in granted:
            assert (decision.value, decision.cause, decision.receipt) == ("fallback", "consent_missing", None)
            return
        expected = ("ten_off", "TARGETING_MATCH", "")
        if "measure" in granted and self.held_out[name]:
            expected = ("none", "SPLIT", "holdout")
        elif self.shown(client, name) >= CAP:
            expected = ("none", "DEFAULT", "capped")
        assert (decision.value, decision.reason, decision.cause) == expected
        (scorer,) = self.clients[client]._engine.active.scorers.values()
        np.testing.assert_array_equal(
            np.array(scorer._local.bound.row), np.array(self.vector(name, context), np.float32)
        )
        basis = decision.receipt.basis
        used = {"personalize"} | (granted & {"history"}) | ({"measure"} if expected[2] == "holdout" else set())
        assert dict(basis.consents) == dict.fromkeys(used, 1)
        assert set(basis.withheld) == {one.name for one in self.features if one.purpose not in granted}
        consent = self.people[name].consent
        pending = self.pending[client].setdefault(name, Pending(consent))
        if pending.consent != consent:
            self.pending[client][name] = pending = Pending(consent)
        pending.receipts = [*pending.receipts, (decision.receipt.id, self.now)][-20:]
        if not expected[2]:
            pending.shown[self.now // DAY] += 1

    @rule(client=clients)
    def flush(self, client: int) -> None:
        self.clients[client]._engine.flush()
        for name in NAMES:
            self.brought(client, name)

    @rule(client=clients, name=visitors)
    def erase(self, client: int, name: str) -> None:
        assert self.clients[client].visitor(name).erase().accepted
        self.people[name] = Person()
        self.pending[client].pop(name, None)

    @rule(seconds=steps)
    def wait(self, seconds: int) -> None:
        if self.shop.clock.now + seconds < LAST:
            self.shop.clock.now += seconds

    @rule(client=clients)
    def sweep(self, client: int) -> None:
        self.clients[client].sweep()

    @rule(client=clients, name=visitors)
    def export(self, client: int, name: str) -> None:
        outcome = self.clients[client].visitor(name).export()
        assert outcome.accepted
        self.brought(client, name)
        if not self.touched(name):
            assert outcome.data == {}
            return
        granted = self.granted(name)
        assert outcome.data["consent"]["granted"] == sorted(granted)
        assert outcome.data["consent"]["refused"] == sorted(LIFETIMES.keys() - granted)
        assert outcome.data["purposes"].keys() == granted
        for purpose, held in outcome.data["purposes"].items():
            self.compare(held, name, purpose)

    def compare(self, held: dict[str, Any], name: str, purpose: str) -> None:
        record, features = self.record(name, purpose), {}
        for feature in self.features:
            if feature.purpose == purpose and feature.kind != "context":
                value = float(np.float32(computed(feature, record.events, self.now)))
                spoken = feature.values[int(value)] if feature.values and value == value else value
                features[feature.name] = None if value != value else spoken
        assert held["features"] == features
        assert held["times_shown"] == ({"promotion": sum(record.shown.values())} if record.shown else {})
        young = [f"{one:016x}" for one, time in record.receipts if self.now - time < 90 * DAY]
        assert [receipt["id"] for receipt in held["receipts"]] == young
        assert held["events_remembered"] == sum(self.now - time < DAY for time, _ in record.ids)

    @invariant()
    def both_clients_know_what_is_granted(self) -> None:
        for client in self.clients:
            for name in NAMES:
                assert self.known(client, name) == self.granted(name)
                assert self.in_memory(client, name) in (None, self.granted(name))

    def known(self, client: Client, name: str) -> set[str]:
        engine = client._engine
        standing = engine.custody.standing(client.visitor(name)._handle, client.policy, self.now, move=False)
        return set(standing.granted) if standing else set()

    def in_memory(self, client: Client, name: str) -> set[str] | None:
        """What the next decision would go by without asking the store, None if it would ask."""
        engine = client._engine
        seen = engine._open.get(client.visitor(name)._handle)
        if seen is None or (seen.withdrawals, seen.version) != (engine._words[0], engine._words[seen.shard]):
            return None
        return set(seen.granted) if seen.since <= self.now < seen.until else None

    def teardown(self) -> None:
        for client in (0, 1):
            self.flush(client)
        for name in NAMES:
            self.export(0, name)
        for client in self.clients:
            client.close()
        self.folder.cleanup()


Visitors.TestCase.settings = settings(max_examples=220, stateful_step_count=50, deadline=None)
TestVisitors = Visitors.TestCase
