"""What one visitor adds, once, to the report on an experiment: kept sealed until the attribution window closes.

Enrolled at the first exposure, under the cell that the assignment and the score named then; outcomes are counted until
the window ends; a release takes the contribution once and leaves a marker, which keeps the visitor from being enrolled
again. Nothing here writes: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from entrenous.events import Event
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.policy import Purpose, Report

__all__ = ["HOLDOUT", "OUTCOME", "Cell", "Contribution", "due_at", "pack_contributions", "unpack_contributions"]

OUTCOME = "purchase"
"""The event that counts."""
HOLDOUT = "holdout"
"""The arm of those who keep the default; no arm of a bundle may take the name."""

_LIMIT = 1 << 17
_MOST_LINES = 128
_MOST_ORDERS = 4_096

Cell = tuple[str, str, str]
"""Arm (or `HOLDOUT`), tranche (empty for who was not scored), segment (its granted purposes, joined by `+`)."""


@dataclass(slots=True, kw_only=True)
class Contribution:
    """One visitor in one experiment.

    Attributes:
        decision: what the experiment is about. cell: where the visitor counts.
        consent_version, chosen: of the purpose, as it was granted, and when that was. since: the exposure. until: the
            end of the window, Unix seconds. contributed: a release has taken it; only this marker is left.
        orders: eight bytes for each distinct order, of its transaction's hash, or of its own.
        lines: ids of events that were counted, where the app gave any. revenue: minor units.
    """

    decision: str
    cell: Cell
    consent_version: int
    chosen: int
    since: int
    until: int
    contributed: bool = False
    orders: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    revenue: int = 0

    def count(self, event: Event) -> bool:
        """Take in an event if it is an outcome within the window; say whether anything changed."""
        if self.contributed or event.name != OUTCOME or not self.since <= event.time < self.until:
            return False
        if event.id:
            if event.id in self.lines:
                return False
            self.lines = [*self.lines, event.id][-_MOST_LINES:]
        order = event.transaction or event.id or len(self.orders).to_bytes(8, "big")
        if order not in self.orders and len(self.orders) < _MOST_ORDERS:
            self.orders.append(order)
        self.revenue += event.value or 0
        return True

    def stands(self, purpose: Purpose, now: int) -> bool:
        """Say whether the grant it was made under still counts, by the policy in force: of the version that it states,
        and no older than a choice is kept there."""
        return self.consent_version == purpose.consent_version and now < self.chosen + purpose.lifetime

    def marker(self) -> Contribution:
        """Return what is left once a release has taken it: no cell, no outcome."""
        return Contribution(
            decision=self.decision,
            cell=("", "", ""),
            consent_version=self.consent_version,
            chosen=0,
            since=0,
            until=0,
            contributed=True,
        )

    def metrics(self, report: Report) -> list[int]:
        """Return what is added to each of the report's metrics: clipped and quantised, then squared."""
        orders = min(len(self.orders), report.clip.get("orders", 1 << 53))
        revenue = min(self.revenue, report.clip.get("revenue", 1 << 53)) // report.quantum
        amounts = {
            "visitors": 1,
            "converters": int(bool(self.orders)),
            "orders": orders,
            "orders2": orders * orders,
            "revenue": revenue,
            "revenue2": revenue * revenue,
            "revenue_orders": revenue * orders,
        }
        return [amounts[metric] for metric in report.metrics]

    def as_table(self) -> dict[str, Any]:
        """Return it as plain values, for the visitor's own export."""
        return {
            "decision": self.decision,
            "arm": self.cell[0],
            "since": self.since,
            "until": self.until,
            "contributed": self.contributed,
            "orders": len(self.orders),
            "revenue": self.revenue,
        }


def due_at(contributions: Mapping[str, Contribution]) -> int:
    """Return when the next of them is to be released, 0 for never."""
    return min((one.until for one in contributions.values() if not one.contributed), default=0)


def pack_contributions(contributions: Mapping[str, Contribution]) -> bytes:
    """Return one visitor's contributions, by experiment, as msgpack."""
    data = pack(
        [
            [
                experiment,
                one.decision,
                list(one.cell),
                one.consent_version,
                one.chosen,
                one.since,
                one.until,
                one.contributed,
                one.orders,
                one.lines,
                one.revenue,
            ]
            for experiment, one in sorted(contributions.items())
        ]
    )
    if len(data) > _LIMIT:
        raise Malformed(f"would be longer than {_LIMIT} bytes", place="contributions", remedy="wait for the release")
    return data


def unpack_contributions(data: bytes | None) -> dict[str, Contribution]:
    """Return contributions by experiment; none for None or nothing.

    Raises:
        Malformed: the bytes are no contributions.
    """
    if not data:
        return {}
    try:
        found = {}
        for experiment, decision, cell, version, chosen, since, until, contributed, orders, lines, revenue in unpack(
            data, place="contributions", longest=_LIMIT
        ):
            arm, tranche, segment = cell
            found[experiment] = Contribution(
                decision=decision,
                cell=(arm, tranche, segment),
                consent_version=version,
                chosen=chosen,
                since=since,
                until=until,
                contributed=contributed,
                orders=list(orders),
                lines=list(lines),
                revenue=revenue,
            )
    except (TypeError, ValueError) as error:
        raise Malformed("are not contributions", place="contributions", remedy="erase this visitor") from error
    return found
