"""Raising: events arm a visitor's triggers; what falls due is told to the app, or put into the outbox as a message.

All of it is under the grant of the trigger's own purpose: without it nothing is read, kept or raised, and what was
armed goes with it. Who is left out by a rule is judged where the visitor is at hand: at each of their events that the
rule or a trigger listens to, and again when an app asks. The worker's round has no handle and judges nobody.

A message is written in the transaction that notes its trigger as raised, so that a process killed at any point leaves
both or neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from entrenous.active import Active
from entrenous.engine import Engine
from entrenous.events import Event
from entrenous.messages.armed import Armed
from entrenous.messages.triggers import FARTHEST, Group
from entrenous.messages.webhooks import KEPT_SECONDS
from entrenous.segments import head_of
from entrenous_consent import audit
from entrenous_consent.custody import Custody
from entrenous_consent.drawers import Standing
from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.messages import Told, new_id, recipient_id
from entrenous_consent.pending import TRIGGERS, Pending
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.store import Append, Verdict, Write

__all__ = ["arm", "armed_of", "due_for_app", "known_to", "raise_messages", "tell_offset"]

_TRIES = 8


def arm(engine: Engine, handle: bytes, events: Sequence[Event], now: int, device: bytes | None) -> set[int]:
    """Take in events of one visitor; return the positions of those that changed something.

    Raises:
        Malformed, Unauthentic, Unavailable: the store.
    """
    active, taken = engine.active, set[int]()
    if now >= active.expires:
        return taken
    for purpose, group in active.triggers.items():
        if not group.hears(events):
            continue
        for _ in range(_TRIES):
            standing = engine.standing(handle, device, active.policy, now, move=True)
            held = _held(engine.custody, handle, standing, purpose, now)
            if standing is None or held is None:
                break
            pending, armed = held
            changed = {
                i
                for i, event in enumerate(events)
                for trigger in group.triggers.values()
                if armed.of(trigger).take(trigger, event, now)
            }
            armed.tidy(group, now)
            if not changed and not armed.progress:
                break
            _judge(engine, handle, standing, group, armed, now)
            verdict = _save(engine, handle, standing, group, (pending, armed), now)
            taken |= changed if verdict == "done" else set()
            if verdict != "conflict":
                break
        else:
            raise Unavailable("keeps changing under these events", place="store", remedy="send them again")
    return taken


def tell_offset(engine: Engine, handle: bytes, minutes: object, device: bytes | None) -> bool:
    """Keep how far the visitor's clock is from UTC, for quiet hours; say whether any granted purpose has a use for it.

    Raises:
        Malformed: no offset. Unauthentic, Unavailable: the store.
    """
    if not isinstance(minutes, int) or isinstance(minutes, bool) or abs(minutes) > FARTHEST:
        remedy = f"give minutes east of UTC, {-FARTHEST} to {FARTHEST}"
        raise Malformed("is not an offset", place="offset", remedy=remedy)
    active, now, kept = engine.active, engine.clock(), False
    for purpose, group in active.triggers.items():
        if all(one.quiet is None for one in group.triggers.values()):
            continue
        for _ in range(_TRIES):
            standing = engine.standing(handle, device, active.policy, now, move=True)
            held = _held(engine.custody, handle, standing, purpose, now)
            if standing is None or held is None:
                break
            held[1].offset, held[1].offset_told = minutes, now
            held[1].tidy(group, now)
            verdict = _save(engine, handle, standing, group, held, now)
            kept = kept or verdict == "done"
            if verdict != "conflict":
                break
        else:
            raise Unavailable("keeps changing under this offset", place="store", remedy="try again")
    return kept


def due_for_app(engine: Engine, handle: bytes, device: bytes | None) -> list[dict[str, str]]:
    """Return the triggers without a message that are due now, and note them as raised; the one due first comes first.

    Raises:
        Malformed, Unauthentic, Unavailable: the store; then none was raised.
    """
    active, now, found = engine.active, engine.clock(), list[dict[str, str]]()
    if now >= active.expires or engine.watch.remaining() <= 0:
        return found
    for purpose, group in active.triggers.items():
        for _ in range(_TRIES):
            standing = engine.standing(handle, device, active.policy, now, move=True)
            held = _held(engine.custody, handle, standing, purpose, now)
            if standing is None or held is None or not held[1].progress:
                break
            armed = held[1]
            _judge(engine, handle, standing, group, armed, now)
            raised = []
            for trigger in armed.ready(group, now):
                if not trigger.message:
                    armed.raise_(trigger, now)
                    raised.append({"name": trigger.name, "kind": trigger.kind})
            verdict = _save(engine, handle, standing, group, held, now) if raised else "done"
            found += raised if verdict == "done" else []
            if verdict != "conflict":
                break
        else:
            raise Unavailable("keeps changing under this question", place="store", remedy="ask again")
    return found


def armed_of(engine: Engine, handle: bytes, standing: Standing, purpose: str, now: int) -> dict[str, Any]:
    """Return what is kept of a visitor's triggers for a purpose, in plain values; empty for nothing."""
    held = _held(engine.custody, handle, standing, purpose, now)
    return held[1].as_table() if held is not None and held[0].value else {}


def known_to(engine: Engine, handle: bytes, recipient: str, device: bytes | None) -> str:
    """Return what the visitor is called towards a recipient; empty where no message to it is granted.

    Raises:
        Malformed: the policy has no message to such a recipient. Unauthentic, Unavailable: the store, or the keyring.
    """
    policy, now = engine.active.policy, engine.clock()
    purposes = {one.purpose for one in policy.messages if one.recipient == recipient}
    if not purposes:
        known = ", ".join(sorted({one.recipient for one in policy.messages})) or "none"
        raise Malformed("is to whom no message goes", place="recipient", remedy=f"known: {known}")
    standing = engine.standing(handle, device, policy, now, move=False)
    if standing is None or not purposes & standing.granted:
        return ""
    return recipient_id(engine.custody.keyring, recipient, handle)


def raise_messages(custody: Custody, active: Active, reachable: Collection[str], now: int) -> list[bytes]:
    """Put a message into the outbox for each trigger that is due and has one, and note it as raised; return their ids.

    Args:
        active: what serves. reachable: messages that this host can send; what else is due waits.

    Raises:
        Unavailable: the store.
    """
    made: list[bytes] = []
    if now >= active.expires or not reachable:
        return made
    for purpose, group in active.triggers.items():
        for pending in custody.owed(now, purpose, TRIGGERS):
            made += _raise(custody, active.policy, group, reachable, pending, now)
    return made


def _raise(
    custody: Custody, policy: PrivacyPolicy, group: Group, reachable: Collection[str], pending: Pending, now: int
) -> list[bytes]:
    """Raise what is due of one visitor; nothing, where a withdrawal or another process was first."""
    try:
        armed = Armed.unpack(pending.value)
    except Malformed:
        return []  # its visitor may erase it
    purpose = policy.purposes[pending.purpose]
    stands = armed.consent_version == purpose.consent_version and now < armed.chosen + purpose.lifetime
    told, writes = [], list[Write]()
    for trigger in armed.ready(group, now) if stands else ():
        message, known = policy.message(trigger.message), armed.progress[trigger.name]
        if message is None or message.name not in reachable or message.recipient != known.recipient:
            continue  # who goes by another name towards another recipient is not named to it by this one
        armed.raise_(trigger, now)
        one = Told(
            id=new_id(),
            kind="raised",
            message=message.name,
            recipient=message.recipient,
            recipient_id=known.recipient_id,
            time=now,
            policy=policy.version,
            trigger=trigger.name,
            until=min(now + KEPT_SECONDS, armed.chosen + purpose.lifetime - 1),
            consent=purpose.consent_version,
        )
        told.append(one.id)
        detail = {"message": message.name, "purpose": pending.purpose, "policy": policy.version}
        entry = audit.entry("message", time=now, subject=armed.subject, detail=detail)
        writes += [one.emit(), Append(audit.log_name(now), entry)]
    due = armed.next(group, now) if stands else 0
    if not told and due == pending.due:
        return []
    pending.value, pending.due = armed.pack(), due
    return told if custody.settle([pending], writes, now) == "done" else []


def _held(
    custody: Custody, handle: bytes, standing: Standing | None, purpose: str, now: int
) -> tuple[Pending, Armed] | None:
    """Return the visitor's row for a purpose and what it holds; None where it is not granted."""
    pending = custody.pending(handle, standing, purpose, now, TRIGGERS) if standing is not None else None
    return None if pending is None else (pending, Armed.unpack(pending.value))


def _judge(engine: Engine, handle: bytes, standing: Standing, group: Group, armed: Armed, now: int) -> None:
    """Say of each trigger that is under way whether its rule leaves the visitor out; what is absent does."""
    gates = {name: gate for name, gate in group.gates.items() if name in armed.progress}
    if not gates:
        return
    purposes = frozenset[str]().union(*(gate.purposes for gate in gates.values())) & standing.granted
    head = head_of(engine.custody, engine.active, handle, standing, purposes, now)
    for name, gate in gates.items():
        armed.progress[name].excluded = not gate.within(standing.granted).admits(head, [], None, now)


def _save(
    engine: Engine, handle: bytes, standing: Standing, group: Group, held: tuple[Pending, Armed], now: int
) -> Verdict:
    """Write a row back, under the grant as it stands; see `Custody.save`."""
    pending, armed = held
    custody, policy = engine.custody, engine.active.policy
    armed.consent_version, expires = standing.record.grants[pending.purpose]
    armed.chosen = standing.record.time
    armed.subject = audit.commitment(standing.record.salt, handle)
    for name, progress in armed.progress.items():
        message = policy.message(group.triggers[name].message)
        if message is not None:
            progress.recipient = message.recipient
            progress.recipient_id = recipient_id(custody.keyring, message.recipient, handle)
    pending.expires = min(expires, max(armed.ends(group), now))
    pending.value, pending.due = armed.pack(), armed.next(group, now)
    return custody.save(handle, standing, [], now, pending=[pending])
