"""What a visitor may ask for beside a decision: what is kept, that it be put right, and one profile after signing in.

Each works on the parts of an `Engine`, under the consent that stands at that moment, and raises as it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from entrenous.engine import Engine
from entrenous.features.declare import Feature
from entrenous.messages.raising import armed_of
from entrenous.profile import Cold, Hot
from entrenous_consent.errors import Malformed, Unauthentic, Unavailable

__all__ = ["choices", "correct", "export", "forget_known", "link"]

_TRIES = 8


def choices(engine: Engine, handle: bytes) -> dict[str, Any]:
    """Return what the visitor chose, and what they are to be asked for: everything, where nothing is known."""
    active, now = engine.active, engine.clock()
    standing = engine.custody.standing(handle, active.policy, now, move=False)
    if standing is None:
        return {"granted": [], "refused": [], "ask": sorted(active.policy.purposes)}
    return {
        "granted": sorted(standing.granted),
        "refused": sorted(set(standing.record.refused) & set(active.policy.purposes)),
        "ask": sorted(standing.record.unanswered(active.policy, now)),
        "source": standing.record.source,
        "time": standing.record.time,
        "expires": standing.record.expires,
    }


def export(engine: Engine, handle: bytes) -> dict[str, Any]:
    """Return everything kept about the visitor in plain values; empty when nothing is (GDPR Art. 15, 20)."""
    active, now = engine.active, engine.clock()
    engine.bring(now, handle)
    standing = engine.custody.standing(handle, active.policy, now)
    if standing is None:
        return {}
    record = standing.record
    held: dict[str, Any] = {
        "consent": {
            "granted": sorted(standing.granted),
            "refused": sorted(set(active.policy.purposes) - standing.granted),
            "source": record.source,
            "time": record.time,
            "expires": record.expires,
        },
        "purposes": {},
    }
    features = active.features
    for drawer in engine.custody.drawers(handle, standing, sorted(standing.granted), now, cold=True):
        hot, cold, plan = Hot.unpack(drawer.hot), Cold.unpack(drawer.cold, now), active.plans.get(drawer.purpose)
        columns = np.frombuffer(hot.fresh(plan, now), np.float32) if plan else ()
        values = {i: float(value) for i, value in zip(plan.positions if plan else (), columns, strict=True)}
        held["purposes"][drawer.purpose] = {
            "features": {features[i].name: _spoken(features[i], value) for i, value in values.items()},
            "times_shown": {name: sum(days.values()) for name, days in hot.caps.items()},
            "receipts": [receipt.as_table() for receipt in cold.receipts],
            "events_remembered": len(cold.event_ids),
        }
        if offers := {name: {"arm": arm, "until": until} for name, (arm, until) in hot.kept.items() if now < until}:
            held["purposes"][drawer.purpose]["offers"] = offers
        if contributions := engine.enrolment.told(handle, standing, drawer.purpose, now):
            held["purposes"][drawer.purpose]["contributions"] = contributions
        if armed := armed_of(engine, handle, standing, drawer.purpose, now):
            held["purposes"][drawer.purpose]["triggers"] = armed
    engine.custody.exported(handle, standing, now)
    return held


def forget_known(engine: Engine, handle: bytes) -> None:
    """Erase everything kept about the visitor, if anything is."""
    with suppress(Malformed, Unauthentic):
        if engine.custody.standing(handle, engine.active.policy, engine.clock(), move=False) is None:
            return
    engine.erase(handle)


def correct(engine: Engine, handle: bytes, corrections: Mapping[str, str | None]) -> list[str]:
    """Put right what is kept (GDPR Art. 16): forget what a feature holds, or hold another category instead.

    Args:
        corrections: feature to one of its categories, or to None to forget. What counts what happened can only be
            forgotten. Features that are kept up to date from the same series change with it.

    Returns:
        The names of the features that changed, sorted; empty where nothing is kept for them.

    Raises:
        Malformed: a feature that is not kept, or no category of it. Unavailable, Unauthentic: the store.
    """
    active, now = engine.active, engine.clock()
    wanted = [_correction(active.features, name, value) for name, value in _items(corrections)]
    purposes = sorted({active.features[position].purpose for position, _ in wanted})
    with engine.writing(handle):
        for _ in range(_TRIES):
            standing = engine.custody.standing(handle, active.policy, now)
            if standing is None:
                return []
            changed, columns = [], set[int]()
            for drawer in engine.custody.drawers(handle, standing, purposes, now):
                if drawer.hot is None:
                    continue
                plan, hot = active.plans[drawer.purpose], Hot.unpack(drawer.hot)
                state = plan.unpack(hot.state)
                for position, code in wanted:
                    if position in plan.positions:
                        columns |= plan.correct(state, position, code, now)
                hot.refold(plan, state, now)
                drawer.hot = hot.pack()
                changed.append((drawer, engine.expires(active, standing, drawer.purpose, now)))
            names = sorted(active.features[position].name for position in columns)
            detail = {
                "purposes": [drawer.purpose for drawer, _ in changed],
                "features": names,
                "policy": active.policy.version,
            }
            if not changed or engine.custody.correct(handle, standing, changed, detail, now) == "done":
                return names
    raise Unavailable("keeps changing under this correction", place="store", remedy="try again")


def link(engine: Engine, device: bytes, account: bytes) -> list[str]:
    """Move what a device's profile holds into the account that signed in on it, for purposes granted to both.

    What either would add to a report stays with it. Nothing is moved twice: the device's profile is empty then.

    Returns:
        The purposes whose profile moved, sorted.

    Raises:
        Unavailable, Unauthentic: the store.
    """
    active, now = engine.active, engine.clock()
    engine.bring(now, device)
    with engine.writing(device, account):
        for _ in range(_TRIES):
            here = engine.custody.standing(device, active.policy, now)
            there = engine.custody.standing(account, active.policy, now)
            both = sorted(here.granted & there.granted & set(active.retention_days)) if here and there else []
            if not both or here is None or there is None:
                return []
            taken, given, moved = [], [], []
            sources = engine.custody.drawers(device, here, both, now, cold=True)
            targets = engine.custody.drawers(account, there, both, now, cold=True)
            for source, target in zip(sources, targets, strict=True):
                if source.hot is None:
                    continue
                plan = active.plans.get(source.purpose)
                mine, theirs = Hot.unpack(source.hot), Hot.unpack(target.hot)
                known, more = Cold.unpack(target.cold, now), Cold.unpack(source.cold, now)
                if plan is not None:
                    state = plan.unpack(theirs.state)
                    plan.merge(state, plan.unpack(mine.state))
                    theirs.refold(plan, state, now)
                theirs.take_shown(mine)
                known.take(more)
                target.hot, target.cold = theirs.pack(), known.pack()
                source.hot, source.cold = None, None if source.cold is None else Cold().pack()
                given.append((target, engine.expires(active, there, target.purpose, now)))
                taken.append((source, engine.expires(active, here, source.purpose, now)))
                moved.append(source.purpose)
            if not moved or engine.custody.join({device: (here, taken), account: (there, given)}, now) == "done":
                return moved
    raise Unavailable("keeps changing under this link", place="store", remedy="try again")


def _items(corrections: object) -> list[tuple[object, object]]:
    if not isinstance(corrections, Mapping) or not corrections:
        raise Malformed("expected a map from feature to category or None", place="corrections")
    return list(corrections.items())


def _correction(features: Sequence[Feature], name: object, value: object) -> tuple[int, int | None]:
    """Return the column that is meant, and the code of its new category or None."""
    position = next((i for i, one in enumerate(features) if one.name == name and one.kind != "context"), None)
    if position is None:
        known = ", ".join(sorted(one.name for one in features if one.kind != "context"))
        raise Malformed("names no feature that is kept", place="corrections", remedy=f"known: {known}")
    feature = features[position]
    if value is None:
        return position, None
    if not feature.settable:
        remedy = "pass None to forget it"
        raise Malformed("counts what happened, and can't be set", place=f"corrections.{feature.name}", remedy=remedy)
    if value not in feature.values:
        remedy = "use one of: " + ", ".join(feature.values)
        raise Malformed("is no category of it", place=f"corrections.{feature.name}", remedy=remedy)
    return position, feature.values.index(str(value))


def _spoken(feature: Feature, value: float) -> Any:
    """Return a feature's value as a person reads it: a category's name, a number, or None for nothing."""
    if value != value:
        return None
    if feature.values:
        return feature.values[int(value)]
    return int(value) if value.is_integer() else value
