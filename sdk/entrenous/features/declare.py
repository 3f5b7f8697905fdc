"""A feature, declared once, for both engines.

The runtime (`state`) keeps it up to date event by event; the central side (`entrenous_exporters.tables`) computes the
same number from an event table. What a feature *means* is written here and nowhere else.

**Windows.** Buckets are UTC hours or days, numbered `time // seconds`, so that no change of the clock moves them. A
window of n holds the current bucket and the n - 1 before it; events with `time <= as_of` count. An event's name may be
`any`: whatever the visitor does.

**Numbers.**

- `count`: events in the window; nothing is 0. `sum`: of an integer field; nothing is 0. `days`: distinct UTC days with
  an event; nothing is 0.
- `min`, `max`: of an integer field, over the events in the window that have it; nothing is NaN.
- `recency`: whole buckets since the last event in the window; nothing is NaN.
- `decayed_sum`: each bucket's sum times `decay_weights(...)[age]`, divided by `DECAY_SCALE`. The weights are
  integers, so the sum is exact in any order and the two engines agree to the bit.
- `age`: whole buckets since the first event in the window. `peak`: the most events of one bucket. `pause`: the most
  buckets from one with an event to the next. Nothing, or a single bucket, is NaN.
- `streak`: days of the run of consecutive UTC days with an event that ends at the latest such day in the window; what
  lies before the window is not seen; nothing is 0.

**Categories.** A code is a position in `values`. What is unlisted or absent counts as nothing.

- `last`: the code of the latest event in the window with a listed value; of two in one second, the higher code.
- `first`: the code of the earliest such event; of two in one second, the lower code. Nothing is NaN.
- `top`: the code with most events in the window; of equals, the lower code.
- `affinity`: the code with the greatest weight, each event weighing `decay_weights(...)[age]`; of equals, the lower
  code. `rank` 2 and 3 are the second and third greatest; where there are fewer codes, NaN.
- `distinct`: how many of the listed `values` were met; nothing is 0. With `slots` in place of `values`, every value
  falls into one of so many slots by its SHA-256, and slots are counted: values that share one count once, so that it is
  a lower bound, never above `slots`.

**Sessions.** No event's time is kept, so half-hours stand for 30 minutes of inactivity: a session is a run of
consecutive UTC half-hours with an event. A pause of 30 minutes or less never ends one, a pause of an hour or more
always does; in between, it depends on where the half-hours fall.

- `sessions`: sessions in the window; one that began before it counts as well; nothing is 0.
- `session_length`: events of the session that is still open, within the window (n hours are 2n half-hours, the current
  one included). A session is open while its last half-hour is the current one or the one before it; none is 0.

**Made of others.** What such a kind means is written in `entrenous.features.interpret`.

**What was said.** `imported` is what another system knows, `told` and `asked` what the visitor said themselves. The
last word counts, as long as its day lies in the window; of several in one second, the greatest number or the highest
code, and what holds before what is taken back.

- `imported`: the code where `values` are listed, else the number, as float32. Nothing is NaN.
- `told`: the code of what was told last about `field`; nothing, or a word taken back, is NaN.
- `asked`: 1 where the visitor last told this one `value`, 0 where they took it back; nothing is NaN. It is how "less of
  this" is declared: one matter, of which several values can hold at once.

**Context.** `context` is handed over with the decision, or derived from its clock (`hour`, `weekday`: UTC, Monday is
0).

**How events arrive.** A *late* event, or one out of order, counts in the bucket of its own time, and the state becomes
what it would have been in any other order; if no window reaches that bucket any more, it changes nothing. The central
engine sees no arrivals: for it an event is there from its own time on. An event in the *future* is refused when it is
observed (`entrenous.events`), and left out by the central engine; should the device's clock have been set back, buckets
after the current one are not read until they come. A *duplicate* has the id of an event of the same visitor and counts
once: the runtime keeps the first that arrives, as long as it remembers the id (`entrenous.profile`), the central engine
the earliest of the log. Events without an id are never duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, NUMBER_FIELDS
from entrenous.features.kinds import (
    ANY,
    DERIVED,
    KINDS,
    LATEST,
    LONGEST_WINDOW,
    MOST_CUTS,
    MOST_RANKS,
    MOST_SLOTS,
    SECONDS,
    Kind,
)
from entrenous.features.lifetime import Lifetime, parse_lifetime
from entrenous.raw import refuse_raw
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table

__all__ = ["KINDS", "Feature", "parse_feature", "parse_schema", "stamp"]

RESERVED = ("improve", "row", "time", "visitor")
_FIELDS = {"number": NUMBER_FIELDS, "category": CATEGORY_FIELDS}
_LARGEST_CUT = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared input of a model.

    Attributes:
        name: its short key, unique in a schema.
        kind: one of `KINDS`; of a part of another feature, one of `PARTS`.
        event: the event it listens to, or `ANY`; empty where the kind names its own. per: the event it compares with.
        field: what it reads of the event, or the key of what is handed over, told or imported; empty if it reads none.
        unit: `day` or `hour`. window: buckets, the current one included; 0 for `context`.
        half_life: buckets, for `affinity` and `decayed_sum`; 0 otherwise.
        values: a coded category's values in a meaningful order; empty where the number is no code.
        among: the values that are told apart where it is none. value: the one that a `share` or `asked` is of.
        slots: how many a number without listed values counts in; 0 otherwise.
        rank: 1 to `MOST_RANKS` for `affinity`; 0 otherwise.
        cuts: of a score, ascending; of `rfm_score` three times as many.
        lifetime: the fitted models, None where none is needed. horizon: days ahead. discount: a month, as a share of 1.
        purpose, category, source, retention_days: what the policy must permit.
    """

    name: str
    kind: str
    purpose: str
    category: str
    source: str
    retention_days: int
    event: str = ""
    field: str = ""
    unit: str = "day"
    window: int = 0
    half_life: int = 0
    values: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    value: str = ""
    slots: int = 0
    per: str = ""
    rank: int = 0
    cuts: tuple[int, ...] = ()
    lifetime: Lifetime | None = None
    horizon: int = 0
    discount: float = 0.0

    @property
    def settable(self) -> bool:
        """Whether a correction can hold another category instead: it can't where the number only ranks, counts or is
        made of others."""
        return bool(self.values) and self.rank < 2 and self.kind != "context" and not KINDS[self.kind].made

    @property
    def listed(self) -> tuple[str, ...]:
        """The values that are told apart, whether or not the number is one's code."""
        return self.values or self.among

    def as_table(self) -> dict[str, Any]:
        """Return the declaration as plain values: what the manifest holds and `parse_feature` reads."""
        table: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.event:
            table["event"] = self.event
        if self.kind != "context":
            table |= {"unit": self.unit, "window": self.window}
        optional = {
            "field": self.field,
            "half_life": self.half_life,
            "values": [] if KINDS[self.kind].codes else list(self.listed),
            "value": self.value,
            "slots": self.slots,
            "per": self.per,
            "rank": self.rank,
            "cuts": list(self.cuts),
            "lifetime": self.lifetime.as_table() if self.lifetime else None,
            "horizon": self.horizon,
            "discount": self.discount,
        }
        return {
            **table,
            **{key: value for key, value in optional.items() if value},
            "purpose": self.purpose,
            "category": self.category,
            "source": self.source,
            "retention_days": self.retention_days,
        }


def parse_feature(table: Table) -> Feature:
    """Return the feature that `table` declares.

    Raises:
        Malformed: an unknown key or kind, a field that the kind cannot read, a window that the retention or the
            bucket size does not allow.
    """
    kind = table.choice("kind", KINDS)
    said = _context(table) if kind == "context" else _stored(table, kind)
    feature = Feature(
        name=table.name("name"),
        kind=kind,
        purpose=table.name("purpose"),
        category=table.text("category", longest=200),
        source=table.text("source", longest=64),
        retention_days=table.integer("retention_days", least=0, most=3650),
        **said,
    )
    if feature.window * SECONDS[feature.unit] > feature.retention_days * 86_400:
        raise table.refuse("window", "is longer than the retention", "shorten it or raise retention_days")
    table.close()
    return feature


def _context(table: Table) -> dict[str, Any]:
    field = table.name("field")
    refuse_raw(table, "name", "field")
    if field in RESERVED:
        raise table.refuse("field", "is a column of its own in a table of moments", "rename it")
    return {"field": field, "values": () if field in DERIVED else table.texts("values", ())}


def _stored(table: Table, kind: str) -> dict[str, Any]:
    """Return what is declared of a kind that a profile keeps."""
    rules, names = KINDS[kind], (ANY, *sorted(EVENT_NAMES))
    said: dict[str, Any] = {"event": table.choice("event", names)} if rules.events else {}
    said["unit"] = table.choice("unit", rules.units, rules.units[0])
    longest = LONGEST_WINDOW[said["unit"]]
    said["window"] = table.integer("window", least=rules.shortest, most=min(longest, rules.longest))
    if rules.reads:
        said["field"] = table.choice("field", _FIELDS[rules.reads])
    if kind in LATEST:
        said["field"] = table.name("field")
        refuse_raw(table, "field")
    if "half_life" in rules.needs:
        said["half_life"] = table.integer("half_life", least=1, most=longest)
    said |= _categories(table, kind, rules)
    if "per" in rules.needs:
        said["per"] = table.choice("per", names)
        if said["per"] == said["event"]:
            raise table.refuse("per", "is the event itself", "name another event")
    if "cuts" in rules.needs:
        said["cuts"] = _cuts(table, 3 if kind == "rfm_score" else 1)
    if "lifetime" in rules.needs:
        said["lifetime"] = parse_lifetime(table.table("lifetime"))
    if "horizon" in rules.needs:
        said["horizon"] = table.integer("horizon", least=1, most=3650)
    if "discount" in rules.needs:
        said["discount"] = table.number("discount", 0.0, least=0, most=0.5)
    return said


def _categories(table: Table, kind: str, rules: Kind) -> dict[str, Any]:
    """Return how a category's values are told apart: as they are listed, by slots, or as the kind itself says."""
    if rules.codes:
        return {"values": rules.codes}
    if kind == "imported":
        return {"values": table.texts("values", ())}
    if "slots" in rules.needs and not ("values" in rules.needs and table.has("values")):
        return {"slots": table.integer("slots", least=2, most=MOST_SLOTS)}
    if "values" not in rules.needs:
        return {}
    listed = table.texts("values", ())
    if not listed:
        raise table.refuse("values", "is empty", "list the category's values in a meaningful order")
    said: dict[str, Any] = {"values" if rules.coded else "among": listed}
    if kind in ("asked", "share"):
        said["value"] = table.choice("value", listed)
    if kind == "affinity":
        said["rank"] = table.integer("rank", 1, least=1, most=MOST_RANKS)
        if said["rank"] > len(listed):
            raise table.refuse("rank", "is greater than the number of values", "list more, or lower it")
    return said


def _cuts(table: Table, scores: int) -> tuple[int, ...]:
    cuts = table.integers("cuts", least=1, most=_LARGEST_CUT)
    each = len(cuts) // scores
    runs = [cuts[i * each : (i + 1) * each] for i in range(scores)]
    if not 1 <= each <= MOST_CUTS or len(cuts) != each * scores:
        remedy = f"give 1 to {MOST_CUTS}" + (" for each of its three scores" if scores > 1 else "")
        raise table.refuse("cuts", "are not as many as they have to be", remedy)
    if any(list(run) != sorted(set(run)) for run in runs):
        raise table.refuse("cuts", "do not ascend", "sort them, each once")
    return cuts


def parse_schema(tables: Iterable[Table]) -> tuple[Feature, ...]:
    """Return the features of a schema in their order: the vector's columns.

    Raises:
        Malformed: from `parse_feature`, or a name declared twice.
    """
    seen: set[str] = set()
    schema = []
    for table in tables:
        feature = parse_feature(table)
        if feature.name in seen:
            raise table.refuse("name", "is declared twice", "rename one")
        seen.add(feature.name)
        schema.append(feature)
    if not schema:
        raise Malformed("declares no feature", place="features", remedy="declare at least one")
    return tuple(schema)


def stamp(features: Iterable[Feature]) -> bytes:
    """Return eight bytes that change when any of these declarations, or their order, does."""
    return sha256(pack([feature.as_table() for feature in features])).digest()[:8]
