"""Armed triggers: late, duplicate and out-of-order events, clock steps, caps, quiet hours, and what is let go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrenous.events import Event
from entrenous.features import ANY
from entrenous.messages.armed import Armed
from entrenous.messages.triggers import TRIGGER_KINDS, Group, Limit, Quiet, Trigger, groups_of, said_of
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table

MINUTE, HOUR, DAY = 60, 3600, 86_400
T0 = 1_790_000_000
CART = Trigger(
    name="cart",
    kind="cart_abandoned",
    purpose="message",
    message="reminder",
    after="add_to_cart",
    unless=("purchase",),
    delay=HOUR,
    lasting=2 * DAY,
    en="Cart",
    fr="Panier",
)


def event(name: str, at: int, id: bytes = b"", category: str = "") -> Event:
    return Event(name=name, time=T0 + at, id=id, category=category)


def cart(at: int, id: bytes = b"") -> Event:
    return event("add_to_cart", at, id)


def bought(at: int) -> Event:
    return event("purchase", at)


def group_of(*triggers: Trigger, limit: Limit | None = None) -> Group:
    (group,) = groups_of(triggers, limit, ()).values()
    return group


def after(trigger: Trigger, *events: Event, now: int | None = None) -> Armed:
    armed = Armed()
    for one in events:
        armed.of(trigger).take(trigger, one, one.time if now is None else T0 + now)
    return armed


def ready(armed: Armed, at: int, *triggers: Trigger, limit: Limit | None = None) -> list[str]:
    """Raise what may be raised at a moment; return the names."""
    raised = []
    for one in armed.ready(group_of(*(triggers or (CART,)), limit=limit), T0 + at):
        armed.raise_(one, T0 + at)
        raised.append(one.name)
    return raised


# Falling due


def test_a_trigger_falls_due_a_delay_after_its_event_and_once():
    armed = after(CART, cart(0))
    assert ready(armed, HOUR - 1) == []
    assert ready(armed, HOUR) == ["cart"]
    assert ready(armed, HOUR) == []


def test_a_later_event_puts_it_off():
    armed = after(CART, cart(0), cart(30 * MINUTE))
    assert ready(armed, HOUR) == []
    assert ready(armed, HOUR + 30 * MINUTE) == ["cart"]


def test_what_disarms_it_ends_it_until_it_is_armed_again():
    armed = after(CART, cart(0), bought(10))
    assert ready(armed, DAY) == []
    armed.of(CART).take(CART, cart(20), T0 + 20)
    assert ready(armed, DAY) == ["cart"]


def test_in_one_second_what_disarms_it_holds():
    for events in permutations([cart(0), bought(0)]):
        assert ready(after(CART, *events), DAY) == []


def test_it_is_let_go_when_it_was_due_too_long_ago():
    assert ready(after(CART, cart(0)), HOUR + 2 * DAY - 1) == ["cart"]
    assert ready(after(CART, cart(0)), HOUR + 2 * DAY) == []


@pytest.mark.parametrize(("times", "due"), [((0, 60), False), ((0, 60, 120), True), ((0, HOUR, 2 * HOUR + 1), False)])
def test_so_many_events_have_to_lie_close_enough(times, due):
    three = replace(CART, at_least=3, within=2 * HOUR)
    armed = after(three, *map(cart, times))
    assert ready(armed, times[-1] + HOUR, three) == (["cart"] if due else [])


def test_one_category_alone_arms_it():
    beans = replace(CART, after="purchase", unless=(), category="beans")
    assert ready(after(beans, event("purchase", 0, category="tea")), HOUR, beans) == []
    assert ready(after(beans, event("purchase", 0, category="beans")), HOUR, beans) == ["cart"]


def test_any_event_arms_it_but_those_that_disarm_it():
    back = replace(CART, after=ANY, unless=("purchase",))
    assert ready(after(back, event("page_view", 0)), HOUR, back) == ["cart"]
    assert ready(after(back, event("page_view", 0), bought(5)), DAY, back) == []


# Late, twice, out of order, and clocks that step


@given(
    st.lists(st.tuples(st.sampled_from(["add_to_cart", "purchase"]), st.integers(0, 40)), max_size=7),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_events_may_arrive_in_any_order(told, at_least, chance):
    trigger = replace(CART, at_least=at_least, within=HOUR if at_least > 1 else 0)
    events = [event(name, at) for name, at in told]
    shuffled = list(events)
    chance.shuffle(shuffled)
    one, other = (after(trigger, *some, now=60) for some in (events, shuffled))
    assert one.of(trigger) == other.of(trigger)


@given(
    st.lists(st.tuples(st.sampled_from(["add_to_cart", "purchase", "search"]), st.integers(0, 200)), max_size=9),
    st.integers(1, 3),
    st.integers(0, 400),
)
def test_a_trigger_is_due_where_the_whole_history_says_so(told, at_least, at):
    """The history is read anew, from its beginning, and nothing is forgotten."""
    trigger = replace(CART, at_least=at_least, within=60 if at_least > 1 else 0, delay=50, lasting=100)
    armed = after(trigger, *(event(name, time) for name, time in told), now=0)
    disarmed = max((time for name, time in told if name == "purchase"), default=-1)
    arming = sorted(time for name, time in told if name == "add_to_cart" and time > disarmed)[-at_least:]
    complete = len(arming) == at_least and arming[-1] - arming[0] <= trigger.within
    expected = complete and arming[-1] + 50 <= at < arming[-1] + 150
    assert ready(armed, at, trigger) == (["cart"] if expected else [])


def test_a_late_event_from_which_nothing_can_come_changes_nothing():
    armed = Armed()
    assert not armed.of(CART).take(CART, cart(0), T0 + HOUR + 2 * DAY + 1)
    assert armed.of(CART).take(CART, cart(0), T0 + HOUR + 2 * DAY)


def test_an_event_before_the_last_that_was_raised_raises_nothing():
    armed = after(CART, cart(100))
    assert ready(armed, 100 + HOUR) == ["cart"]
    assert not armed.of(CART).take(CART, cart(50), T0 + 100 + HOUR)
    assert ready(armed, DAY) == []


def test_a_duplicate_counts_once():
    twice = replace(CART, at_least=2, within=HOUR)
    armed = after(twice, cart(0, b"12345678"), cart(0, b"12345678"))
    assert ready(armed, HOUR, twice) == []
    armed = after(twice, cart(0, b"12345678"), cart(0, b"other id"))
    assert ready(armed, HOUR, twice) == ["cart"]


def test_where_the_clock_is_set_back_it_waits_for_its_time_to_come_again():
    armed = after(CART, cart(0))
    assert ready(armed, -DAY) == []
    assert ready(armed, HOUR) == ["cart"]


def test_what_was_raised_ahead_of_a_clock_that_was_set_back_still_counts():
    capped = replace(CART, cap=Limit(times=1, days=1))
    armed = after(capped, cart(0))
    assert ready(armed, HOUR, capped) == ["cart"]
    armed.of(capped).take(capped, cart(60), T0 + 60)
    armed.tidy(group_of(capped), T0)
    assert ready(armed, HOUR + 60, capped) == []


# Caps


def test_a_cap_holds_it_up_until_there_is_room():
    capped = replace(CART, cap=Limit(times=1, days=1))
    armed = after(capped, cart(0))
    assert ready(armed, HOUR, capped) == ["cart"]
    armed.of(capped).take(capped, cart(2 * HOUR), T0 + 2 * HOUR)
    assert ready(armed, HOUR + DAY - 1, capped) == []
    assert ready(armed, HOUR + DAY, capped) == ["cart"]


def test_a_cap_that_leaves_no_room_in_time_lets_it_go():
    capped = replace(CART, cap=Limit(times=1, days=7))
    armed = after(capped, cart(0))
    assert ready(armed, HOUR, capped) == ["cart"]
    armed.of(capped).take(capped, cart(2 * HOUR), T0 + 2 * HOUR)
    assert armed.opens(group_of(capped), capped) is None


def test_one_limit_counts_all_triggers_and_the_one_due_first_comes_first():
    late = replace(CART, name="late", delay=2 * HOUR)
    armed = after(CART, cart(0))
    armed.of(late).take(late, cart(0), T0)
    limit = Limit(times=1, days=1)
    assert ready(armed, 3 * HOUR, late, CART, limit=limit) == ["cart"]
    assert ready(armed, 3 * HOUR + DAY - 1, late, CART, limit=limit) == []
    assert ready(armed, 3 * HOUR + DAY, late, CART, limit=limit) == ["late"]


# Quiet hours


def local(hour: int, minute: int = 0, *, day: int = 25, month: int = 10) -> int:
    return int(datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp())


NIGHT = Quiet(start=21 * 60, end=8 * 60, offset=60)


@pytest.mark.parametrize(
    ("moment", "offset", "ends"),
    [
        (local(19, 59), None, local(19, 59)),
        (local(20), None, local(7, day=26)),
        (local(6, 59), None, local(7)),
        (local(7), None, local(7)),
        (local(20), -300, local(20)),
        (local(2), -300, local(13)),
        (local(20), 0, local(20)),
        (local(21), 0, local(8, day=26)),
    ],
)
def test_quiet_hours_over_midnight_end_in_the_visitors_own_time(moment, offset, ends):
    assert NIGHT.ends(moment, offset) == ends


def test_quiet_hours_within_a_day():
    noon = Quiet(start=12 * 60, end=14 * 60, offset=0)
    assert [noon.ends(local(hour), None) - local(hour) for hour in (11, 12, 13, 14)] == [0, 2 * HOUR, HOUR, 0]


@pytest.mark.parametrize(
    ("told", "expected"),
    [(120, local(6)), (60, local(7))],
    ids=["summer time, until 25 October", "winter time, from then on"],
)
def test_over_a_change_of_the_clocks_the_offset_told_last_counts(told, expected):
    """Paris leaves summer time at 01:00 UTC of 25 October 2026; its eight o'clock comes an hour later in UTC."""
    trigger = replace(CART, quiet=NIGHT)
    armed = Armed(offset=120, offset_told=local(0))
    begun = Event(name="add_to_cart", time=local(22, day=24))
    armed.of(trigger).take(trigger, begun, begun.time)
    armed.offset = told
    assert armed.next(group_of(trigger), local(0)) == expected
    assert list(armed.ready(group_of(trigger), expected - 1)) == []
    assert list(armed.ready(group_of(trigger), expected)) == [trigger]


def test_what_was_due_by_day_and_not_raised_then_waits_for_the_night_to_end():
    trigger = replace(CART, quiet=replace(NIGHT, offset=0))
    begun = Event(name="add_to_cart", time=local(12))
    armed = Armed()
    armed.of(trigger).take(trigger, begun, begun.time)
    assert list(armed.ready(group_of(trigger), local(23))) == []
    assert armed.next(group_of(trigger), local(23)) == local(8, day=26)
    assert list(armed.ready(group_of(trigger), local(8, day=26))) == [trigger]


def test_a_night_that_outlasts_it_lets_it_go():
    brief = replace(CART, quiet=replace(NIGHT, offset=0), lasting=HOUR)
    begun = Event(name="add_to_cart", time=local(20))
    armed = Armed()
    armed.of(brief).take(brief, begun, begun.time)
    assert armed.opens(group_of(brief), brief) is None
    assert armed.next(group_of(brief), local(21)) == 0


# Exclusion, other declarations, what is kept


def test_who_is_excluded_gets_nothing():
    armed = after(CART, cart(0))
    armed.progress["cart"].excluded = True
    assert ready(armed, HOUR) == []
    assert armed.next(group_of(CART), T0) == 0


def test_a_trigger_that_is_declared_otherwise_begins_anew():
    armed, other = after(CART, cart(0)), replace(CART, delay=2 * HOUR)
    assert ready(armed, 2 * HOUR, other) == []
    armed.tidy(group_of(other), T0)
    assert armed.progress == {}


def test_a_trigger_for_the_app_is_no_message_to_look_for():
    quiet = replace(CART, message="")
    assert after(quiet, cart(0)).next(group_of(quiet), T0) == 0


def test_what_can_not_matter_any_more_is_let_go():
    capped = replace(CART, cap=Limit(times=1, days=3))
    group, armed = group_of(capped), after(capped, cart(0))
    armed.offset, armed.offset_told = 60, T0
    assert ready(armed, HOUR, capped) == ["cart"]
    ends = armed.ends(group)
    armed.tidy(group, T0 + HOUR + 2 * DAY)
    assert (bool(armed.progress), len(armed.raised), armed.offset) == (True, 1, 60)
    armed.tidy(group, T0 + HOUR + 2 * DAY + 1)
    assert (bool(armed.progress), len(armed.raised), armed.offset) == (False, 1, 60)
    armed.tidy(group, T0 + HOUR + 3 * DAY)
    assert (armed.raised, armed.offset) == ([], 60)
    armed.tidy(group, ends)
    assert armed == Armed()
    assert (ends, armed.ends(group)) == (T0 + 90 * DAY, 0)


def test_what_is_packed_is_read_again():
    armed = after(CART, cart(0, b"12345678"), cart(1))
    armed.raised, armed.offset, armed.offset_told, armed.subject = [(T0, "cart")], -330, T0, b"s" * 32
    armed.consent_version, armed.chosen = 2, T0 - 1
    armed.progress["cart"].recipient, armed.progress["cart"].recipient_id = "Mailer", "0f" * 16
    assert Armed.unpack(armed.pack()) == armed
    assert Armed.unpack(None) == Armed()


@pytest.mark.parametrize(
    "data", [pack([]), pack([2, 0, 0, b"", [], [], None, 0]), pack([1, 0, 0, b"", [1], [], None, 0]), pack({"a": 1})]
)
def test_what_are_no_triggers_is_refused(data):
    with pytest.raises(Malformed):
        Armed.unpack(data)


def test_the_record_stays_small():
    """Sixty-four triggers of ten events each are the most that a manifest declares."""
    many = [replace(CART, name=f"trigger_{i}", at_least=10, within=DAY) for i in range(64)]
    armed = Armed()
    for one in many:
        for at in range(20):
            armed.of(one).take(one, cart(at, at.to_bytes(8, "big")), T0 + at)
    assert len(armed.pack()) < 1 << 15


# Declarations


SAID = {"name": "cart", "purpose": "message", "delay_minutes": 60, "words": {"en": "c", "fr": "p"}}


@pytest.mark.parametrize("kind", TRIGGER_KINDS)
def test_a_kind_names_its_events(kind):
    said = said_of(Table({**SAID, "kind": kind, "category": "beans"}))
    assert (said["after"], said["unless"]) == TRIGGER_KINDS[kind]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"kind": "stalking"}, "kind"),
        ({"kind": "replenishment"}, "category"),
        ({"after": "purchase"}, "unless[0]"),
        ({"unless": ["breathing"]}, "unless[0]"),
        ({"at_least": 2}, "within_hours"),
        ({"delay_minutes": -1}, "delay_minutes"),
        ({"cap": {"times": 0, "days": 1}}, "cap.times"),
        ({"quiet": {"start": 60, "end": 60, "offset": 0}}, "quiet.end"),
        ({"quiet": {"start": 60, "end": 70, "offset": 900}}, "quiet.offset"),
        ({"words": {"en": "c"}}, "words.fr"),
    ],
)
def test_a_declaration_that_can_not_be_is_refused_with_its_place(changes, place):
    with pytest.raises(Malformed) as refused:
        said_of(Table({**SAID, "kind": "cart_abandoned", **changes}))
    assert refused.value.place == place
