"""Armed: how far each trigger of one visitor and purpose has come, as a small record.

A trigger is armed by its events and falls due `delay` after the last of them. It starts over with an event that disarms
it and with being raised: what is not later than that counts no more. Of the events since then, the latest `at_least`
are kept, so that the record is the same in whatever order they arrive; an event with a known id changes nothing, and
one from which nothing can come any more (`Trigger.reach`) is passed over. Of a disarming event and an arming one in the
same second, the disarming one holds. Where a clock is set back, what lies ahead of it waits for it to come again, and
what was raised ahead of it still counts towards a cap.

Nothing here writes: values in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from entrenous.events import Event
from entrenous.messages.triggers import DAY, FARTHEST, Group, Limit, Trigger
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack

__all__ = ["Armed", "Progress"]

_FORMAT = 1
_LIMIT = 1 << 15
_OFFSET_DAYS = 90
"""How long an offset is kept after the app told it last."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """One trigger's.

    Attributes:
        stamp: of the declaration. since: what happened until then counts no more. events: time and id (eight bytes, or
            none) of the latest that arm it. excluded: as of the visitor's last event. recipient, recipient_id: to whom
            a message of it goes, and what that one calls the visitor; empty where it has none.
    """

    stamp: bytes
    since: int = 0
    events: list[tuple[int, bytes]] = field(default_factory=list)
    excluded: bool = False
    recipient: str = ""
    recipient_id: str = ""

    def take(self, trigger: Trigger, event: Event, now: int) -> bool:
        """Take in an event; say whether anything changed."""
        if event.time <= self.since or event.time + trigger.reach < now:
            return False
        if event.name in trigger.unless:
            self.begin(event.time)
            return True
        if not trigger.arms(event) or (event.id and any(event.id == known for _, known in self.events)):
            return False
        self.events = sorted([*self.events, (event.time, event.id)])[-trigger.at_least :]
        return True

    def begin(self, moment: int) -> None:
        """Start over: nothing until `moment` counts any more."""
        self.since = max(self.since, moment)
        self.events = [one for one in self.events if one[0] > self.since]

    def due(self, trigger: Trigger) -> int | None:
        """Return when it falls due, in Unix seconds; None where it is not armed."""
        if len(self.events) < trigger.at_least or (last := self.events[-1][0]) - self.events[0][0] > trigger.within:
            return None
        return last + trigger.delay

    def over(self, trigger: Trigger) -> int:
        """Return from when on nothing can come of it."""
        return max([self.since, *(time for time, _ in self.events)]) + trigger.reach


@dataclass(slots=True, kw_only=True)
class Armed:
    """One visitor's, for one purpose.

    Attributes:
        consent_version, chosen: of the purpose as it was granted, and when that was. subject: who is meant in the audit
            log. progress: by trigger. raised: when which was, in order. offset, offset_told: minutes east of UTC, and
            when the app told it; None and 0 where it did not.
    """

    consent_version: int = 0
    chosen: int = 0
    subject: bytes = b""
    progress: dict[str, Progress] = field(default_factory=dict)
    raised: list[tuple[int, str]] = field(default_factory=list)
    offset: int | None = None
    offset_told: int = 0

    def of(self, trigger: Trigger) -> Progress:
        """Return how far a trigger has come: from nothing, where it is declared otherwise than it was."""
        known = self.progress.get(trigger.name)
        if known is None or known.stamp != trigger.stamp:
            known = self.progress[trigger.name] = Progress(stamp=trigger.stamp)
        return known

    def opens(self, group: Group, trigger: Trigger) -> int | None:
        """Return from when on a trigger may be raised: it is due, no cap holds it up, and the hours are not quiet.

        None where that will not be before it is let go, where it is not armed, and where the visitor is excluded.
        """
        known = self.progress.get(trigger.name)
        if known is None or known.stamp != trigger.stamp or known.excluded:
            return None
        due = known.due(trigger)
        if due is None:
            return None
        moment = due
        for limit, times in ((trigger.cap, self._times(trigger.name)), (group.limit, self._times())):
            moment = max(moment, _free(limit, times))
        moment = self._later(trigger, moment)
        return moment if moment < due + trigger.lasting else None

    def ready(self, group: Group, now: int) -> Iterator[Trigger]:
        """Yield, one after the other, the triggers that may be raised `now`: the one that was due first comes first.
        Whoever takes one calls `raise_` before asking for the next."""
        passed = set[str]()
        while True:
            waiting = [
                (due, trigger.name)
                for trigger in group.triggers.values()
                if trigger.name not in passed
                and (opens := self.opens(group, trigger)) is not None
                and (due := self.progress[trigger.name].due(trigger)) is not None
                and max(opens, self._later(trigger, now)) <= now < due + trigger.lasting
            ]
            if not waiting:
                return
            _, name = min(waiting)
            passed.add(name)
            yield group.triggers[name]

    def _later(self, trigger: Trigger, moment: int) -> int:
        """Return when the quiet hours end that a moment lies in; the moment where it lies in none."""
        return trigger.quiet.ends(moment, self.offset) if trigger.quiet is not None else moment

    def raise_(self, trigger: Trigger, now: int) -> None:
        """Note that a trigger was raised; it starts over."""
        known = self.progress[trigger.name]
        known.begin(known.events[-1][0])
        self.raised = sorted([*self.raised, (now, trigger.name)])

    def tidy(self, group: Group, now: int) -> None:
        """Let go of what can't matter any more at `now`."""
        self.progress = {
            name: one
            for name, one in self.progress.items()
            if (trigger := group.triggers.get(name)) is not None
            and one.stamp == trigger.stamp
            and one.over(trigger) >= now
        }
        self.raised = [one for one in self.raised if one[0] > now - group.days * DAY]
        if self.offset_told + _OFFSET_DAYS * DAY <= now:
            self.offset, self.offset_told = None, 0

    def ends(self, group: Group) -> int:
        """Return from when on all of it can be let go, in Unix seconds; 0 where nothing is held."""
        ends = [one.over(group.triggers[name]) + 1 for name, one in self.progress.items()]
        ends += [time + group.days * DAY for time, _ in self.raised]
        return max([*ends, self.offset_told + _OFFSET_DAYS * DAY if self.offset_told else 0])

    def next(self, group: Group, now: int) -> int:
        """Return when to look again for a message to raise: `now` or later, in Unix seconds; 0 for never."""
        found = []
        for trigger in group.triggers.values():
            opens = self.opens(group, trigger) if trigger.message else None
            if opens is not None and (due := self.progress[trigger.name].due(trigger)) is not None:
                moment = self._later(trigger, max(opens, now))
                if moment < due + trigger.lasting:
                    found.append(moment)
        return min(found, default=0)

    def _times(self, name: str = "") -> list[int]:
        """Return when one trigger was raised, or any."""
        return [time for time, raised in self.raised if name in ("", raised)]

    def as_table(self) -> dict[str, Any]:
        """Return it as plain values, for the visitor's own export."""
        armed = {
            name: {"since": one.since, "events": len(one.events), "excluded": one.excluded}
            for name, one in sorted(self.progress.items())
        }
        return {"armed": armed, "raised": [[name, time] for time, name in self.raised], "utc_offset": self.offset}

    def pack(self) -> bytes:
        """Return it as msgpack."""
        progress = [
            [name, one.stamp, one.since, one.events, one.excluded, one.recipient, one.recipient_id]
            for name, one in sorted(self.progress.items())
        ]
        head = [_FORMAT, self.consent_version, self.chosen, self.subject]
        return pack([*head, progress, self.raised, self.offset, self.offset_told])

    @classmethod
    def unpack(cls, data: bytes | None) -> Armed:
        """Return what `pack` wrote; nothing for None.

        Raises:
            Malformed: it is not that.
        """
        if not data:
            return cls()
        try:
            kind, version, chosen, subject, progress, raised, offset, told = unpack(
                data, place="triggers", longest=_LIMIT
            )
            if kind != _FORMAT or not (offset is None or abs(offset) <= FARTHEST):
                raise ValueError(kind)
            return cls(
                consent_version=version,
                chosen=chosen,
                subject=subject,
                progress={name: _progress(parts) for name, *parts in progress},
                raised=[(time, name) for time, name in raised],
                offset=offset,
                offset_told=told,
            )
        except (TypeError, ValueError) as error:
            raise Malformed("are not triggers", place="triggers", remedy="erase this visitor") from error


def _progress(parts: Iterable[Any]) -> Progress:
    stamp, since, events, excluded, recipient, named = parts
    kept = [(time, id) for time, id in events]
    return Progress(stamp=stamp, since=since, events=kept, excluded=excluded, recipient=recipient, recipient_id=named)


def _free(limit: Limit | None, raised: list[int]) -> int:
    """Return from when on a limit leaves room for one more."""
    if limit is None or len(raised) < limit.times:
        return 0
    return raised[-limit.times] + limit.days * DAY
