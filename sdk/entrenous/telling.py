"""What a visitor tells of themselves, and takes back; and what another system knows of them.

Each is kept for granted purposes only, and only where a feature of that purpose reads it: a word that nothing reads is
refused, and leaves no trace. Words of a visitor keep the order they were told in, though two fall into one second: the
earlier ones are set back a second each, so that the later one wins and an undo takes back that one alone. What is told
again is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from entrenous.active import Active
from entrenous.engine import Engine
from entrenous.events import Attribute, attribute_name, parse_attribute
from entrenous.features import Feature, Plan, State
from entrenous.profile import Hot
from entrenous_consent.errors import Malformed, Unavailable

__all__ = ["imported_for", "keep", "preferences", "tell", "undo"]

_TRIES = 8

States = Mapping[str, tuple[Plan, State]]
"""By purpose, what its features are read from."""


def tell(engine: Engine, handle: bytes, word: tuple[object, object, object], device: bytes | None) -> bool:
    """Keep what the visitor told; say whether a granted purpose has a use for it.

    Args:
        word: the field, one of its values, and whether it holds. device: where they signed in.

    Raises:
        Malformed: no feature of the bundle can be told that. Unavailable, Unauthentic: the store.
    """
    field, value, holds = word
    named = _told(engine.active, field)
    if not isinstance(value, str) or not any(value in _values(one) for one in named):
        known = ", ".join(sorted({value for one in named for value in _values(one)}))
        raise Malformed("is no value of it", place=f"preference.{named[0].field}", remedy=f"use one of: {known}")
    if not isinstance(holds, bool):
        raise Malformed("expected true or false", place="preference.holds")
    now = engine.clock()
    name = attribute_name("told", named[0].field)
    said = parse_attribute(name, value, time=now, now=now, holds=holds)

    using = {one.purpose for one in named if value in _values(one)}

    def change(states: States) -> set[str]:
        if not using & states.keys():
            return set()
        _make_room(states, named[0].field, said)
        for plan, state in states.values():
            plan.take(state, said)
        return set(states)

    return bool(_change(engine, handle, device, {one.purpose for one in named}, change))


def _make_room(states: States, field: str, said: Attribute) -> None:
    """Set what was told before back, so that what is said comes last; what it only repeats goes."""
    words: dict[int, set[tuple[str, bool]]] = {}
    for plan, state in states.values():
        for second, some in plan.words(state, field).items():
            words.setdefault(second, set()).update(some)
    last = max(words, default=-1)
    if words.get(last) == {(said.value, said.holds)}:
        for plan, state in states.values():
            plan.undo(state, field, last=last)
        del words[last]
    moved, latest = {}, said.time
    for second in sorted(words, reverse=True):
        latest = min(second, latest - 1)
        moved[second] = latest
    for plan, state in states.values():
        plan.retime(state, field, moved)


def undo(engine: Engine, handle: bytes, field: object, device: bytes | None) -> bool:
    """Take back the last thing that the visitor told about a field; say whether there was any. What they told before
    holds again.

    Raises:
        Malformed: no feature of the bundle is told that. Unavailable, Unauthentic: the store.
    """
    named = _told(engine.active, field)
    about = named[0].field

    def change(states: States) -> set[str]:
        last = max((at for plan, state in states.values() for at in plan.words(state, about)), default=-1)
        return {purpose for purpose, (plan, state) in states.items() if plan.undo(state, about, last=last)}

    return bool(_change(engine, handle, device, {one.purpose for one in named}, change))


def preferences(engine: Engine, handle: bytes, device: bytes | None) -> dict[str, dict[str, list[str]]]:
    """Return, for each field that the visitor can tell something about under what they granted, the `values` that can
    be told and those of them that were and still hold.

    Raises:
        Malformed, Unauthentic, Unavailable: the store.
    """
    active, now = engine.active, engine.clock()
    standing = engine.standing(handle, device, active.policy, now, move=False)
    if standing is None:
        return {}
    told: dict[str, dict[str, list[str]]] = {}
    asked = {one.purpose for one in active.features if one.kind in ("asked", "told")}
    for drawer in engine.custody.drawers(handle, standing, sorted(asked), now):
        plan, hot = active.plans[drawer.purpose], Hot.unpack(drawer.hot)
        columns = np.frombuffer(hot.fresh(plan, now), np.float32)
        for position, number in zip(plan.positions, columns, strict=True):
            feature = active.features[position]
            if feature.kind not in ("asked", "told"):
                continue
            known = told.setdefault(feature.field, {"values": [], "holds": []})
            known["values"] += [value for value in _values(feature) if value not in known["values"]]
            holding = _holding(feature, float(number))
            known["holds"] += [value for value in holding if value not in known["holds"]]
    return {field: told[field] for field in sorted(told)}


def _holding(feature: Feature, number: float) -> Sequence[str]:
    if feature.kind == "asked":
        return (feature.value,) if number == 1 else ()
    return () if number != number else (feature.values[int(number)],)


def keep(engine: Engine, handle: bytes, said: Sequence[Attribute]) -> list[str]:
    """Keep what another system knows of a visitor, in one transaction.

    Returns:
        For each: empty where it is kept, `consent_missing` where no granted purpose has a use for it, `known` where
        what is kept is as new.

    Raises:
        Unavailable, Unauthentic: the store; then nothing was kept.
    """
    causes, using = ["consent_missing"] * len(said), [imported_for(engine.active, one) for one in said]

    def change(states: States) -> set[str]:
        changed = set()
        for i, one in enumerate(said):
            hearing = {purpose: pair for purpose, pair in states.items() if purpose in using[i]}
            taking = {purpose for purpose, (plan, state) in hearing.items() if plan.take(state, one)}
            causes[i] = "" if taking else "known" if hearing else "consent_missing"
            changed |= taking
        return changed

    if _change(engine, handle, None, frozenset[str]().union(*using), change) is None:
        return ["consent_missing"] * len(said)
    return causes


def imported_for(active: Active, said: Attribute) -> frozenset[str]:
    """Return the purposes that have a use for what another system says: a feature of theirs reads it."""
    number = not isinstance(said.value, str)
    return frozenset(
        one.purpose
        for one in active.features
        if one.kind == "imported"
        and attribute_name(one.kind, one.field) == said.name
        and (not one.values if number else said.value in one.values)
    )


def _change(
    engine: Engine,
    handle: bytes,
    device: bytes | None,
    purposes: Iterable[str],
    change: Callable[[States], set[str]],
) -> set[str] | None:
    """Change what features are read from, for those purposes that are granted; return the purposes that changed, None
    where no choice of the visitor stands.

    Raises:
        Unavailable: another process keeps writing this visitor; nothing changed.
    """
    with engine.writing(handle):
        for _ in range(_TRIES):
            active, now = engine.active, engine.clock()
            standing = engine.standing(handle, device, active.policy, now, move=True)
            if standing is None:
                return None
            drawers = engine.custody.drawers(handle, standing, sorted({*purposes} & active.plans.keys()), now)
            hots = {drawer.purpose: Hot.unpack(drawer.hot) for drawer in drawers}
            plans = {purpose: active.plans[purpose] for purpose in hots}
            states = {purpose: (plans[purpose], plans[purpose].unpack(hot.state)) for purpose, hot in hots.items()}
            changed = change(states)
            written = []
            for drawer in drawers:
                if drawer.purpose in changed:
                    hot, (plan, state) = hots[drawer.purpose], states[drawer.purpose]
                    hot.refold(plan, state, now)
                    drawer.hot = hot.pack()
                    written.append((drawer, engine.expires(active, standing, drawer.purpose, now)))
            verdict = engine.custody.save(handle, standing, written, now) if written else "done"
            if verdict == "done":
                return changed
    raise Unavailable("keeps changing under this", place="store", remedy="send it again")


def _told(active: Active, field: object) -> list[Feature]:
    """Return the features that are told about a field."""
    told = [one for one in active.features if one.kind in ("asked", "told")]
    named = [one for one in told if one.field == field]
    if not named:
        known = ", ".join(sorted({one.field for one in told})) or "none"
        raise Malformed("is nothing that can be told here", place="preference.field", remedy=f"known: {known}")
    return named


def _values(feature: Feature) -> tuple[str, ...]:
    """Return what can be told: of a matter of which several can hold at once, the one value that is asked for."""
    return (feature.value,) if feature.kind == "asked" else feature.values
