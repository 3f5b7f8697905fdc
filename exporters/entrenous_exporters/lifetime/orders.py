"""A shop's orders as the device will see them: days with a purchase, and what was spent on each.

A device keeps for its visitor how many days of the window hold a purchase, how long ago the first and the last were,
and the sum of their values. The models are fitted on the same: a repeat purchase is a further day with one, and the
mean value is the sum over all those days, the first included. Rows of visitors who did not grant `improve` are left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
from numpy.typing import NDArray

from entrenous.features.lifetime import UNITS
from entrenous_consent.errors import Malformed
from entrenous_exporters.lifetime.histories import Histories, Spending, parse_histories, parse_spending

__all__ = ["Buyers", "Orders", "read_orders"]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buyers:
    """Who had bought by some day, `[B]`, in days.

    Attributes:
        visitor: the number of each in `Orders`. repeats: days with a purchase after the first. recency: from the first
            to the last. age: from the first to that day. spent: in all, minor units.
    """

    visitor: Whole
    repeats: Whole
    recency: Whole
    age: Whole
    spent: Floats

    def histories(self, unit: str) -> Histories:
        """Return their histories in `unit`, one of `UNITS`."""
        days = UNITS[unit]
        return parse_histories(self.repeats, self.recency / days, self.age / days)

    @property
    def worth_nothing(self) -> int:
        """How many have spent nothing: Gamma-Gamma has no place for them."""
        return int((self.spent <= 0).sum())

    def spending(self) -> Spending:
        """Return what a day with a purchase was worth to each who has spent anything."""
        paid = self.spent > 0
        days = self.repeats[paid] + 1
        return parse_spending(days, self.spent[paid] / days)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Orders:
    """Days with a purchase, `[M]`, ordered by visitor and day.

    Attributes:
        visitor: who, as a number. day: days since 1970 in UTC, each once for a visitor. value: minor units, 0 or more.
        last: the day as of which everything is counted.
        left_out: how many visitors are not in here, by cause: `improve_missing`, `no_purchase`.
    """

    visitor: Whole
    day: Whole
    value: Floats
    last: int
    left_out: Mapping[str, int]

    @property
    def days(self) -> int:
        """How long they reach, from the first day with a purchase to `last`, both included."""
        return self.last - int(self.day.min()) + 1

    def buyers(self, until: int) -> Buyers:
        """Return who had bought by the end of a day, and what was known of them then."""
        known = self.day <= until
        visitor, day, value = self.visitor[known], self.day[known], self.value[known]
        starts = np.flatnonzero(np.diff(visitor, prepend=-1))
        ends = np.append(starts, len(visitor))[1:] - 1
        return Buyers(
            visitor=visitor[starts],
            repeats=ends - starts,
            recency=day[ends] - day[starts],
            age=until - day[starts],
            spent=np.add.reduceat(value, starts) if len(starts) else np.zeros(0),
        )

    def bought_again(self, buyers: Buyers, after: int) -> Whole:
        """Return on how many days after a day each of `buyers` bought."""
        later = self.visitor[self.day > after]
        return np.bincount(later, minlength=int(self.visitor.max()) + 1)[buyers.visitor].astype(np.int64)


def read_orders(backend: Any, events: Any, choices: Any | None, *, until: int | None = None) -> Orders:
    """Return the orders of an event log.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`. events: from `read_events`.
        choices: from `read_consent`; of lines that disagree about a visitor the stricter holds, and who is not named
            has not granted. None for public research data.
        until: the last day that counts, days since 1970; by default the last of the log, whatever happened on it.

    Raises:
        Malformed: the log has no column `value`, or holds no purchase that may be read.
    """
    if "value" not in events.columns:
        remedy = "add what each purchase was worth, minor units"
        raise Malformed("is missing", place="events: column value", remedy=remedy)
    events = events.mutate(day=(events.time // _DAY).cast("int64"))
    if until is not None:
        events = events.filter(events.day <= until)
    people = events.visitor.nunique()
    everybody = int(people.execute())
    if choices is not None:
        said = choices.group_by("visitor").aggregate(granted=choices.improve.fill_null(False).cast("int8").min())
        events = events.semi_join(said.filter(said.granted == 1), "visitor")
    allowed = int(events.visitor.nunique().execute())
    bought = events.filter(events.name == "purchase")
    days = bought.group_by("visitor", "day").aggregate(value=bought.value.fill_null(0).sum().cast("float64"))
    days = days.mutate(who=ibis.dense_rank().over(order_by=days.visitor))
    found = days.select("who", "day", "value").order_by("who", "day").to_pyarrow()
    if not len(found):
        raise Malformed(
            "holds no purchase of a visitor who granted `improve`", place="events", remedy="check both files"
        )
    visitor = found["who"].to_numpy().astype(np.int64)
    last = until if until is not None else int(events.day.max().execute())
    return Orders(
        visitor=visitor,
        day=found["day"].to_numpy().astype(np.int64),
        value=found["value"].to_numpy().astype(np.float64),
        last=last,
        left_out={"improve_missing": everybody - allowed, "no_purchase": allowed - int(visitor.max()) - 1},
    )
