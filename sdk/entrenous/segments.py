"""Segments: named groups that a visitor is in or not, said by a rule over what is kept about them here.

A segment is declared with the bundle. Its rule reads kept features and the clock alone, so that it means the same
whoever asks and wherever: nothing that an app supplies with one decision. It is evaluated when it is asked for and
stored nowhere. Everything that its rule reads must be granted, its own purpose among it; what is withheld or missing
keeps a visitor out.

A rule of the specification that says `segment("name")` ships with that segment's tree in the place of the call, so that
a gate that uses one needs the same grants, and a circle can't be shipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from entrenous.features import DERIVED, Feature
from entrenous.profile import Hot
from entrenous.targeting import Gate, Variable, compile_gate, features_as_variables, read_tree
from entrenous.targeting.form import names_in
from entrenous_consent.custody import Custody
from entrenous_consent.drawers import Standing
from entrenous_consent.parsing import Table

if TYPE_CHECKING:
    from entrenous.active import Active
    from entrenous.engine import Engine

__all__ = [
    "MOST_SEGMENTS",
    "Segment",
    "check_purpose",
    "compile_segments",
    "head_of",
    "kept_variables",
    "parse_segments",
    "segments_of",
    "words_of",
]

MOST_SEGMENTS = 64
_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A named group.

    Attributes:
        name: its short key. purpose: what it is for: one of those that its rule reads. rule: as it ships.
        en, fr: what it is called, for people.
    """

    name: str
    purpose: str
    rule: tuple[Any, ...]
    en: str
    fr: str

    def as_table(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {"name": self.name, "purpose": self.purpose, "rule": self.rule, "words": {"en": self.en, "fr": self.fr}}


def kept_variables(schema: Iterable[Feature]) -> dict[str, Variable]:
    """Return what a segment or an exclusion may read: features that are kept, and what the clock says."""
    return features_as_variables(one for one in schema if one.kind != "context" or one.field in DERIVED)


def words_of(table: Table) -> tuple[str, str]:
    """Return what a thing is called, in English and in French."""
    words = table.table("words")
    said = words.text("en", longest=_LONGEST_WORDS), words.text("fr", longest=_LONGEST_WORDS)
    words.close()
    return said


def check_purpose(table: Table, purpose: str, rule: tuple[Any, ...], variables: Mapping[str, Variable]) -> None:
    """Refuse a segment whose purpose is that of nothing that its rule reads: then a grant of it would not be asked for.

    Raises:
        Malformed: with the place of the purpose.
    """
    read = sorted({variables[name].purpose for name in names_in(rule)})
    if purpose not in read:
        remedy = "use one of: " + ", ".join(read) if read else "write a rule that reads a feature"
        raise table.refuse("purpose", "is that of nothing that the rule reads", remedy)


def parse_segments(tables: Sequence[Table], schema: Iterable[Feature]) -> tuple[Segment, ...]:
    """Return the segments of a manifest.

    Raises:
        Malformed: an unknown key, a rule that does not read, a name that stands twice.
    """
    variables, found = kept_variables(schema), list[Segment]()
    for table in tables:
        name, purpose = table.name("name"), table.name("purpose")
        rule = read_tree(table.array("rule"), variables, place=f"{table.path}.rule")
        en, fr = words_of(table)
        table.close()
        check_purpose(table, purpose, rule, variables)
        if any(one.name == name for one in found):
            raise table.refuse("name", "is declared twice", "rename one")
        found.append(Segment(name=name, purpose=purpose, rule=rule, en=en, fr=fr))
    return tuple(found)


def compile_segments(segments: Iterable[Segment], schema: Sequence[Feature]) -> dict[str, Gate]:
    """Return, by name, what says whether a visitor is in a segment."""
    gates = {one.name: compile_gate(one.rule, None, schema, ()) for one in segments}
    return {name: gate for name, gate in gates.items() if gate is not None}


def head_of(
    custody: Custody, active: Active, handle: bytes, standing: Standing, purposes: Iterable[str], now: int
) -> memoryview[float]:
    """Return the visitor's vector, with what is kept for `purposes` where they are granted, and NaN elsewhere.

    Raises:
        Malformed, Unauthentic, Unavailable: what is kept can't be read.
    """
    head = memoryview(bytearray(active.blank)).cast("f")
    for drawer in custody.drawers(handle, standing, sorted(purposes), now):
        plan = active.plans[drawer.purpose]
        columns = memoryview(Hot.unpack(drawer.hot).fresh(plan, now)).cast("f")
        for position, value in zip(plan.positions, columns, strict=True):
            head[position] = value
    active.tell_time(head, standing.granted, now)
    return head


def segments_of(engine: Engine, handle: bytes, device: bytes | None) -> list[str]:
    """Return the names of the segments that the visitor is in, sorted; none where nothing is granted.

    Args:
        device: where they signed in: what is not granted there too is not read.

    Raises:
        Malformed, Unauthentic, Unavailable: what is kept can't be read.
    """
    active, now = engine.active, engine.clock()
    standing = engine.standing(handle, device, active.policy, now, move=False)
    if standing is None or now >= active.expires or engine.watch.remaining() <= 0:
        return []
    open_ = {name: gate for name, gate in active.segments.items() if standing.granted >= gate.purposes}
    if not open_:
        return []
    purposes = frozenset[str]().union(*(gate.purposes for gate in open_.values()))
    head = head_of(engine.custody, active, handle, standing, purposes, now)
    return sorted(name for name, gate in open_.items() if gate.within(standing.granted).admits(head, [], None, now))
