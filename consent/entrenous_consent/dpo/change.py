"""A change of a policy, and the few shapes that changes have: a number, a set, a key of the taxonomy, words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from entrenous_consent.dpo.taxonomy import within

__all__ = ["NARROWS", "SAYS", "WIDENS", "Change", "listed", "said", "sets", "step", "term", "turn"]

WIDENS, NARROWS, SAYS = "widens", "narrows", "says"
"""What a change does: more than before, less than before, or neither as far as a program can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        place: a path; a feature, report, message or decision is named in it. effect: `WIDENS`, `NARROWS` or `SAYS`.
        reason: a key of the catalog `diff`. old, new: as written; empty where there is none.
        purposes: whose consent it touches.
    """

    place: str
    effect: str
    reason: str
    old: str
    new: str
    purposes: tuple[str, ...]


def step(
    place: str, old: float, new: float, purposes: tuple[str, ...], reasons: tuple[str, str], *, up: str = WIDENS
) -> Iterator[Change]:
    """Yield the change of a number; `reasons` for one that grew and for one that fell, `up` what growing does."""
    if old != new:
        grew = new > old
        effect = up if grew else (NARROWS if up == WIDENS else WIDENS)
        reason = reasons[0] if grew else reasons[1]
        yield Change(place=place, effect=effect, reason=reason, old=f"{old:g}", new=f"{new:g}", purposes=purposes)


def sets(
    place: str, old: Iterable[object], new: Iterable[object], purposes: tuple[str, ...], reasons: tuple[str, str]
) -> Iterator[Change]:
    """Yield what was added to a set of things and what was taken away."""
    before, after = list(map(str, old)), list(map(str, new))
    for one in after:
        if one not in before:
            yield Change(place=place, effect=WIDENS, reason=reasons[0], old="", new=one, purposes=purposes)
    for one in before:
        if one not in after:
            yield Change(place=place, effect=NARROWS, reason=reasons[1], old=one, new="", purposes=purposes)


def said(place: str, old: object, new: object, purposes: tuple[str, ...] = ()) -> Iterator[Change]:
    """Yield the change of what a program cannot judge."""
    if old != new:
        was, now = ("" if one is None else str(one) for one in (old, new))
        yield Change(place=place, effect=SAYS, reason="otherwise", old=was, new=now, purposes=purposes)


def turn(place: str, effect: str, reason: str, values: tuple[object, object], purposes: tuple[str, ...]) -> Change:
    """Return a change from the first of `values` to the second."""
    return Change(place=place, effect=effect, reason=reason, old=str(values[0]), new=str(values[1]), purposes=purposes)


def term(place: str, old: str, new: str, purposes: tuple[str, ...], reasons: tuple[str, str]) -> Iterator[Change]:
    """Yield the change of a key of the taxonomy: one below the old one narrows, any other widens."""
    if old != new:
        below = within(new, (old,))
        effect, reason = (NARROWS, reasons[1]) if below else (WIDENS, reasons[0])
        yield turn(place, effect, reason, (old, new), purposes)


def listed(values: Iterable[object]) -> str:
    """Return things as they are written in a change."""
    return ", ".join(map(str, values))
