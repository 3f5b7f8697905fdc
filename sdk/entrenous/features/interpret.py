"""Interpretations: a number made of several others, such as how far a visit explores, or whether a refill is due.

An interpretation is declared like any other feature. Its *parts* are simpler declarations over the same events, which
both engines know how to compute; what it makes of their numbers is one function of this module, which both engines
call. A part that is absent is NaN; a count of nothing is 0. Divided by nothing, a number is absent.

`w` is the window, `event` what the feature listens to, `per` what it is compared with. Days are UTC days.

| kind | parts, and the number |
|---|---|
| `mean` | sum of `field`, over the events that have it |
| `ratio` | events, for each `per` |
| `share` | events with the one `value`, over those with any listed one |
| `gap` | mean days from one day with an event to the next |
| `regularity` | `gap` over the longest such pause: 1 is a clockwork |
| `due` | days since the last event over `gap`: from 1 on, the next one is due |
| `trend` | events a day in the last quarter of `w`, over events a day in `w` |
| `momentum` | (later - earlier) / (later + earlier), events a bucket in the halves of `w`: -1 to 1 |
| `drift` | mean of `field` in the last quarter of `w`, over the mean in `w` |
| `intensity` | events for each day with one |
| `burst` | the share of the events that fell into the busiest bucket |
| `loyalty` | days with an event, over days since the first, both included |
| `presence` | days with an event, over days of `w` |
| `weekend` | the share of the days with an event that were a Saturday or a Sunday |
| `newcomer` | 1 in the first session within `w`, or before it; else 0 |
| `exploration` | slots met by `field`, over events that have it: 1 where each view is of something new |
| `coverage` | listed values met, over how many are listed |
| `focus` | sum of the squared shares of the listed values: 1 where all events are of one |
| `strayed` | 1 where the latest listed value is not the most frequent one, else 0 |
| `settled` | 1 where the latest listed value is the first one, else 0 |
| `spread` | (greatest - least) / greatest of `field` |
| `price_gap` | mean of `field` over `event`, over its mean over `per` |
| `worth` | sum of `field` over `event`, for each `per` |
| `given_back` | sum of `field` over `per`, over its sum over `event`, at most 1 |
| `abandoned` | the share of `event` that no `per` answers: 1 - `per` / `event`, at least 0 |
| `outstanding` | 1 where the last `event` is in a later bucket than any `per`, else 0 |
| `lag` | buckets from the last `per` to the last `event`; negative where `per` came later |
| `per_session` | events for each session |
| `engagement` | events of the session that is open, over events a session in `w` |
| `recency_score` | 0 without an event; else 1 for each of `cuts` that the days since the last one stay below, and 1 |
| `frequency_score` | 0 without an event; else 1 for each of `cuts` that the days with an event reach, and 1 |
| `monetary_score` | the same of the sum of `field` |
| `rfm_score` | recency, frequency and monetary score as three digits; `cuts` are three times as many, in that order |
| `alive`, `churn`, `expected_purchases` | see `entrenous.features.lifetime`: of days with an event, and since when |
| `expected_value`, `lifetime_value` | the same, and of `field` for each day with an event |
| `funnel` | the furthest of view, cart, checkout and purchase in `w` |
| `moment` | where the visitor is in the journey: see `_moment` |
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import isnan, nan
from typing import Any

from entrenous.features import lifetime
from entrenous.features.declare import Feature
from entrenous.features.kinds import ANY

__all__ = ["INTERPRETATIONS", "Interpretation", "parts_of"]

Number = Callable[..., float]
"""Makes the feature's number of its parts': integers where they count or sum, so that a division rounds once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpretation:
    """How a kind is made of parts.

    Attributes:
        parts: returns the parts of a feature, as declarations. number: returns what it makes of theirs, in that order.
    """

    parts: Callable[[Feature], tuple[Feature, ...]]
    number: Callable[[Feature], Number]


def parts_of(feature: Feature) -> tuple[Feature, ...]:
    """Return the declarations whose numbers a feature is made of; none where it is not made of others."""
    known = INTERPRETATIONS.get(feature.kind)
    return known.parts(feature) if known else ()


_PLAIN = frozenset({"name", "kind", "purpose", "category", "source", "retention_days", "event", "unit", "window"})
_NOTHING = {one.name: one.default for one in fields(Feature) if one.name not in _PLAIN}


def _part(feature: Feature, kind: str, **said: Any) -> Feature:
    """Return a declaration of another kind over the same events, buckets and window, but for what is `said`."""
    return replace(feature, kind=kind, **{**_NOTHING, **said})


def _of(*kinds: str) -> Callable[[Feature], tuple[Feature, ...]]:
    """Parts of these kinds, which read nothing of an event."""
    return lambda feature: tuple(_part(feature, kind) for kind in kinds)


def _reading(*kinds: str) -> Callable[[Feature], tuple[Feature, ...]]:
    """Parts of these kinds, each of the feature's field."""
    return lambda feature: tuple(_part(feature, kind, field=feature.field) for kind in kinds)


def _plain(number: Number) -> Callable[[Feature], Number]:
    """The same for every declaration of the kind."""
    return lambda feature: number


def _over(above: float, below: float) -> float:
    return above / below if below else nan


# Rhythm


def _gap(age: float, recency: float, days: float) -> float:
    return _over(age - recency, days - 1.0) if days else nan


def _regularity(age: float, recency: float, days: float, pause: float) -> float:
    return _over(_gap(age, recency, days), pause)


def _due(age: float, recency: float, days: float) -> float:
    return _over(recency, _gap(age, recency, days))


def _quarter(feature: Feature) -> int:
    return max(1, feature.window // 4)


def _trend_parts(feature: Feature) -> tuple[Feature, ...]:
    return _part(feature, "count", window=_quarter(feature)), _part(feature, "count")


def _trend(feature: Feature) -> Number:
    short, whole = _quarter(feature), feature.window
    return lambda late, all_: _over(late * whole, all_ * short)


def _half(feature: Feature) -> int:
    return feature.window // 2


def _momentum_parts(feature: Feature) -> tuple[Feature, ...]:
    return _part(feature, "count", window=_half(feature)), _part(feature, "count")


def _momentum(feature: Feature) -> Number:
    half, rest = _half(feature), feature.window - _half(feature)

    def number(late: float, all_: float) -> float:
        later, earlier = late * rest, (all_ - late) * half
        return _over(later - earlier, later + earlier)

    return number


def _drift_parts(feature: Feature) -> tuple[Feature, ...]:
    late = {"field": feature.field, "window": _quarter(feature)}
    return _part(feature, "sum", **late), _part(feature, "filled", **late), *_reading("sum", "filled")(feature)


def _drift(late: float, late_filled: float, whole: float, filled: float) -> float:
    return _over(late * filled, whole * late_filled)


# Taste


def _exploration_parts(feature: Feature) -> tuple[Feature, ...]:
    met = _part(feature, "distinct", field=feature.field, slots=feature.slots)
    return met, _part(feature, "filled", field=feature.field)


def _listing(*kinds: str) -> Callable[[Feature], tuple[Feature, ...]]:
    """Parts of these kinds, each over the listed values; those that are one's code have them as theirs."""
    coded = ("first", "last", "top")

    def parts(feature: Feature) -> tuple[Feature, ...]:
        listed = feature.among
        return tuple(
            _part(feature, kind, field=feature.field, **{"values" if kind in coded else "among": listed})
            for kind in kinds
        )

    return parts


def _share_parts(feature: Feature) -> tuple[Feature, ...]:
    listed = _part(feature, "listed", field=feature.field, among=feature.among)
    return replace(listed, kind="chosen", value=feature.value), listed


def _same(one: float, other: float) -> float:
    return nan if isnan(one) or isnan(other) else float(one == other)


def _strayed(last: float, top: float) -> float:
    return 1.0 - _same(last, top)


def _focus(squares: float, events: float) -> float:
    return _over(squares, events * events)


# Money


def _spread(most: float, least: float) -> float:
    return _over(most - least, most)


def _price_gap_parts(feature: Feature) -> tuple[Feature, ...]:
    mine = _reading("sum", "filled")(feature)
    return *mine, *(replace(part, event=feature.per) for part in mine)


def _price_gap(total: float, filled: float, other: float, other_filled: float) -> float:
    return _over(total * other_filled, other * filled)


def _worth_parts(feature: Feature) -> tuple[Feature, ...]:
    return _part(feature, "sum", field=feature.field), _part(feature, "count", event=feature.per)


def _given_back_parts(feature: Feature) -> tuple[Feature, ...]:
    (paid,) = _reading("sum")(feature)
    return replace(paid, event=feature.per), paid


def _given_back(back: float, paid: float) -> float:
    return min(1.0, back / paid) if paid else nan


# One event against another


def _both(kind: str) -> Callable[[Feature], tuple[Feature, ...]]:
    return lambda feature: (_part(feature, kind), _part(feature, kind, event=feature.per))


def _abandoned(begun: float, finished: float) -> float:
    return max(0.0, 1.0 - finished / begun) if begun else nan


def _outstanding(begun: float, finished: float) -> float:
    return float(not isnan(begun) and not finished <= begun)


def _lag(event: float, per: float) -> float:
    return per - event


def _per_session_parts(feature: Feature) -> tuple[Feature, ...]:
    return _part(feature, "count"), _part(feature, "sessions", event=ANY)


def _engagement_parts(feature: Feature) -> tuple[Feature, ...]:
    return _part(feature, "session_length", unit="hour", window=24), *_of("count", "sessions")(feature)


def _engagement(length: float, events: float, sessions: float) -> float:
    return _over(length * sessions, events)


# Scores


def _recency_points(recency: float, cuts: tuple[int, ...]) -> float:
    return 0.0 if isnan(recency) else 1.0 + len(cuts) - bisect_right(cuts, recency)


def _points(number: float, cuts: tuple[int, ...]) -> float:
    return 1.0 + bisect_right(cuts, number) if number else 0.0


def _recency_score(feature: Feature) -> Number:
    return lambda recency: _recency_points(recency, feature.cuts)


def _score(feature: Feature) -> Number:
    return lambda number: _points(number, feature.cuts)


def _rfm_parts(feature: Feature) -> tuple[Feature, ...]:
    return *_of("recency", "days")(feature), *_reading("sum")(feature)


def _rfm(feature: Feature) -> Number:
    each = len(feature.cuts) // 3
    recent, often, much = (feature.cuts[i * each : (i + 1) * each] for i in range(3))

    def number(recency: float, days: float, total: float) -> float:
        return 100.0 * _recency_points(recency, recent) + 10.0 * _points(days, often) + _points(total, much)

    return number


# Lifetime


def _history(feature: Feature, days: float, recency: float, age: float) -> tuple[float, float, float]:
    """What the models know of a customer: repeats, when the last was, and the age, in the model's unit."""
    a_unit = _a_unit(feature)
    return days - 1.0, (age - recency) / a_unit, age / a_unit


def _of_history(number: Callable[..., float], *, horizon: bool = False) -> Callable[[Feature], Number]:
    def of(feature: Feature) -> Number:
        model, ahead = feature.lifetime, _ahead(feature)

        def one(days: float, recency: float, age: float) -> float:
            if not days:
                return nan
            known = _history(feature, days, recency, age)
            return number(model, *known, ahead) if horizon else number(model, *known)

        return one

    return of


def _ahead(feature: Feature) -> float:
    return feature.horizon / _a_unit(feature)


def _a_unit(feature: Feature) -> float:
    return 7.0 if feature.lifetime is not None and feature.lifetime.unit == "week" else 1.0


def _expected_value(feature: Feature) -> Number:
    model: Any = feature.lifetime
    return lambda days, total: lifetime.expected_value(model, days, total / days) if days else nan


def _lifetime_value_parts(feature: Feature) -> tuple[Feature, ...]:
    return *_of("days", "recency", "age")(feature), *_reading("sum")(feature)


def _lifetime_value(feature: Feature) -> Number:
    model: Any = feature.lifetime
    ahead, discount = _ahead(feature), feature.discount

    def number(days: float, recency: float, age: float, total: float) -> float:
        if not days:
            return nan
        return lifetime.lifetime_value(model, *_history(feature, days, recency, age), total / days, ahead, discount)

    return number


# The journey

STEPS = ("view_item", "add_to_cart", "begin_checkout", "purchase")


def _funnel_parts(feature: Feature) -> tuple[Feature, ...]:
    return tuple(_part(feature, "count", event=step) for step in STEPS)


def _funnel(*counts: float) -> float:
    return float(max((step for step, count in enumerate(counts, 1) if count), default=0))


_FRESH_HOURS = 48
_MOMENT_SLOTS = 60


def _moment_parts(feature: Feature) -> tuple[Feature, ...]:
    recent = {"event": "view_item", "window": min(feature.window, _FRESH_HOURS)}
    _, cart, checkout, purchase = (_part(feature, "recency", event=step) for step in STEPS)
    return (
        _part(feature, "count", **recent),
        _part(feature, "distinct", field="category", slots=_MOMENT_SLOTS, **recent),
        cart,
        checkout,
        purchase,
    )


def _moment(views: float, categories: float, cart: float, checkout: float, purchase: float) -> float:
    """0 discovering, 1 comparing, 2 deciding, 3 returning after a purchase; NaN where nothing says.

    Deciding: something went into the cart, or to the checkout, within 48 hours and after any purchase. Returning: a
    purchase lies within the window. Comparing: at least three views within 48 hours, three or more to a category.
    """
    begun = min((hours for hours in (cart, checkout) if not isnan(hours)), default=nan)
    if begun < _FRESH_HOURS and not purchase <= begun:
        return 2.0
    if not isnan(purchase):
        return 3.0
    if not views:
        return nan
    return float(0.0 < categories * 3.0 <= views)


def _newcomer(sessions: float) -> float:
    return float(sessions <= 1.0)


_HISTORY = ("days", "recency", "age")

INTERPRETATIONS: Mapping[str, Interpretation] = {
    "abandoned": Interpretation(parts=_both("count"), number=_plain(_abandoned)),
    "alive": Interpretation(parts=_of(*_HISTORY), number=_of_history(lifetime.alive)),
    "burst": Interpretation(parts=_of("peak", "count"), number=_plain(_over)),
    "churn": Interpretation(parts=_of(*_HISTORY), number=_of_history(lifetime.churn)),
    "coverage": Interpretation(
        parts=_listing("distinct"), number=lambda feature: lambda met: met / float(len(feature.among))
    ),
    "drift": Interpretation(parts=_drift_parts, number=_plain(_drift)),
    "due": Interpretation(parts=_of("age", "recency", "days"), number=_plain(_due)),
    "engagement": Interpretation(parts=_engagement_parts, number=_plain(_engagement)),
    "expected_purchases": Interpretation(
        parts=_of(*_HISTORY), number=_of_history(lifetime.expected_purchases, horizon=True)
    ),
    "expected_value": Interpretation(
        parts=lambda feature: (*_of("days")(feature), *_reading("sum")(feature)), number=_expected_value
    ),
    "exploration": Interpretation(parts=_exploration_parts, number=_plain(_over)),
    "focus": Interpretation(parts=_listing("squared", "listed"), number=_plain(_focus)),
    "frequency_score": Interpretation(parts=_of("days"), number=_score),
    "funnel": Interpretation(parts=_funnel_parts, number=_plain(_funnel)),
    "gap": Interpretation(parts=_of("age", "recency", "days"), number=_plain(_gap)),
    "given_back": Interpretation(parts=_given_back_parts, number=_plain(_given_back)),
    "intensity": Interpretation(parts=_of("count", "days"), number=_plain(_over)),
    "lag": Interpretation(parts=_both("recency"), number=_plain(_lag)),
    "lifetime_value": Interpretation(parts=_lifetime_value_parts, number=_lifetime_value),
    "loyalty": Interpretation(parts=_of("days", "age"), number=_plain(lambda days, age: _over(days, age + 1.0))),
    "mean": Interpretation(parts=_reading("sum", "filled"), number=_plain(_over)),
    "moment": Interpretation(parts=_moment_parts, number=_plain(_moment)),
    "momentum": Interpretation(parts=_momentum_parts, number=_momentum),
    "monetary_score": Interpretation(parts=_reading("sum"), number=_score),
    "newcomer": Interpretation(parts=_of("sessions"), number=_plain(_newcomer)),
    "outstanding": Interpretation(parts=_both("recency"), number=_plain(_outstanding)),
    "per_session": Interpretation(parts=_per_session_parts, number=_plain(_over)),
    "presence": Interpretation(parts=_of("days"), number=lambda feature: lambda days: days / float(feature.window)),
    "price_gap": Interpretation(parts=_price_gap_parts, number=_plain(_price_gap)),
    "ratio": Interpretation(parts=_both("count"), number=_plain(_over)),
    "recency_score": Interpretation(parts=_of("recency"), number=_recency_score),
    "regularity": Interpretation(parts=_of("age", "recency", "days", "pause"), number=_plain(_regularity)),
    "rfm_score": Interpretation(parts=_rfm_parts, number=_rfm),
    "settled": Interpretation(parts=_listing("first", "last"), number=_plain(_same)),
    "share": Interpretation(parts=_share_parts, number=_plain(_over)),
    "spread": Interpretation(parts=_reading("max", "min"), number=_plain(_spread)),
    "strayed": Interpretation(parts=_listing("last", "top"), number=_plain(_strayed)),
    "trend": Interpretation(parts=_trend_parts, number=_trend),
    "weekend": Interpretation(parts=_of("weekend_days", "days"), number=_plain(_over)),
    "worth": Interpretation(parts=_worth_parts, number=_plain(_over)),
}
