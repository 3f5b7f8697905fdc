"""`Visitor`: the person at the device, as an app talks to them. Nothing here raises: it answers and says why not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import Any

from entrenous import consenting, rights
from entrenous.decision import Decision, Outcome
from entrenous.decisions.form import DecisionRule
from entrenous.engine import Engine
from entrenous.events import Event, parse_event
from entrenous.messages.raising import arm, due_for_app, known_to, tell_offset
from entrenous.recommending.serving import Recommendation, Wanted, recommend, unchanged
from entrenous.segments import segments_of
from entrenous.telling import preferences, tell, undo
from entrenous_consent.errors import Forbidden, Malformed, Refusal, Unauthentic, Unavailable
from entrenous_consent.signal_settings import APP, OBJECTION
from entrenous_consent.signals import from_choices
from entrenous_consent.store import Erasure

__all__ = ["Visitor"]

_LOG = logging.getLogger("entrenous")


class Visitor:
    """The person at the device. Holds a handle, never the identifier it came from."""

    __slots__ = ("_device", "_engine", "_forced", "_handle", "_refused")

    def __init__(
        self, engine: Engine, handle: bytes | None, refused: Outcome | None = None, *, device: bytes | None = None
    ) -> None:
        self._engine, self._handle, self._refused = engine, handle, refused or _TAKEN
        self._device = device
        self._forced: Mapping[str, str] = {}

    def force(self, decision: str, arm: str) -> Visitor:
        """Return the same visitor with one answer set by hand, for who checks how an arm looks.

        Nothing is read, kept or counted for that answer, whatever was granted; its reason is `STATIC`, its cause
        `forced`. An arm that the bundle in force does not have is answered with `unknown_decision`.
        """
        visitor = Visitor(self._engine, self._handle, self._refused, device=self._device)
        visitor._forced = {**self._forced, decision: arm}
        return visitor

    def consent(self, choices: Mapping[str, bool]) -> Outcome:
        """Take in the visitor's whole choice: what it does not name is refused. Of who signed in (`link`), it is the
        choice of the account and of the device.

        Returns:
            Accepted; or why not, with the choice before it still in force. Cause `pending`: accepted, and what was
            withdrawn is unreadable, but a reader of the store's files still delays its last trace; `Client.sweep`
            finishes.
        """

        def work(handle: bytes) -> Erasure:
            granted = from_choices(self._engine.active.policy, choices)
            return self._engine.choose(handle, granted, APP)

        return self._each(work)

    def signal(self, signal: Mapping[str, Any], *, gpc: bool = False) -> Outcome:
        """Take in a choice as another system tells it: a TCF string, a GPP string, consent mode, GPC.

        Args:
            signal: one of `{"tcf": text}`, `{"gpp": text}`, `{"consent_mode": states, "cmp": name}`, `{"gpc": "1"}`,
                `{"choices": choices}`; `docs/signals.md` says what each grants. It is the whole choice.
            gpc: whether `Sec-GPC: 1` came with it, which makes it an objection; see the policy's
                `gpc_yields_to_later_choice`.

        Returns:
            As `consent` does. Cause `malformed`: it is broken; `forbidden`: the policy does not take it. Either way
            nothing changed.
        """
        return self._each(lambda handle: consenting.take_signal(self._engine, handle, signal, gpc=gpc))

    def chose_over_gpc(self) -> bool:
        """Say whether this visitor's choice outweighs `Sec-GPC: 1`: made while it was sent, under a policy that allows
        that. False wherever it can't be known."""
        handles = [one for one in (self._handle, self._device) if one is not None]
        try:
            return bool(handles) and all(consenting.chose_over_gpc(self._engine, one) for one in handles)
        except Exception as error:
            _failed(error)
            return False

    def object(self, purposes: Collection[str] | None = None) -> Outcome:
        """Take in an objection (GDPR Art. 21): these purposes end, or all; what else was chosen stands.

        Returns:
            As `consent` does.
        """

        def work(handle: bytes) -> Erasure:
            named = self._engine.active.policy.purposes if purposes is None else purposes
            return self._engine.object(handle, frozenset(named), OBJECTION)

        return self._each(work)

    def choices(self) -> Outcome:
        """Return, as `data`, what is `granted` and `refused`, and which purposes to `ask` for: new or widened ones,
        those whose grant has ended, and all where nothing is known. A banner with nothing to ask for is not shown."""

        def work(handle: bytes) -> Outcome:
            told = rights.choices(self._engine, handle)
            if self._device is not None:
                there = rights.choices(self._engine, self._device)
                told["granted"] = sorted({*told["granted"]} & {*there["granted"]})
                told["refused"] = sorted({*told["refused"], *there["refused"]})
                told["ask"] = sorted({*told["ask"], *there["ask"]} - {*told["refused"]})
            return Outcome(True, data=told)

        return self._answer(work)

    def link(self, account: Visitor) -> Visitor:
        """Return who signed in here: the account, for what is granted both there and on this device. The stricter
        choice holds; what the device's profile holds moves into the account's, for purposes granted to both.

        `unlink` at sign-out.
        """
        if self._handle is None or account._handle is None:
            return Visitor(self._engine, None, account._refused if account._handle is None else self._refused)
        device = self._device or self._handle
        linked = Visitor(self._engine, account._handle, device=device)
        linked._answer(lambda handle: Outcome(True, data={"moved": rights.link(self._engine, device, handle)}))
        return linked

    def unlink(self) -> Visitor:
        """Return the visitor of the device alone, after a sign-out."""
        return self if self._device is None else Visitor(self._engine, self._device)

    def observe(self, name: str, *, time: int | None = None, **properties: Any) -> Outcome:
        """Take in one event, kept once this answers.

        Args:
            name: one of `entrenous.events.EVENT_NAMES`. time: Unix seconds, now by default.
            properties: see `entrenous.events.parse_event`.
        """
        return self.observe_all([{"name": name, "time": time, **properties}])[0]

    def observe_all(self, events: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """Take in several events at once; one that is refused does not hold up the others.

        Args:
            events: mappings with `name`, optionally `time`, and the event's properties.
        """
        outcomes: list[Outcome] = []
        parsed: list[tuple[int, Event]] = []

        def work(handle: bytes) -> Outcome:
            now = self._engine.clock()
            for i, described in enumerate(_several(events)):
                try:
                    parsed.append((i, _parse(described, now)))
                    outcomes.append(_TAKEN)
                except Exception as error:
                    outcomes.append(_failed(error))
            if parsed:
                several = [event for _, event in parsed]
                causes = self._engine.observe(handle, several, now, self._device)
                for armed in arm(self._engine, handle, several, now, self._device):
                    causes[armed] = causes[armed] if causes[armed] == "duplicate" else ""
                for (i, _), cause in zip(parsed, causes, strict=True):
                    outcomes[i] = Outcome(not cause, cause)
            return Outcome(True)

        whole = self._answer(work)
        if whole.accepted:
            return outcomes
        for i, _ in parsed:
            outcomes[i] = whole
        return outcomes or [whole]

    def decide(self, name: str, default: Any, context: Mapping[str, Any] | None = None) -> Decision:
        """Return the decision `name` for this visitor; `default` with a reason wherever there is none.

        Args:
            context: what this page or till knows and no profile does, by context key.
        """
        handle = self._handle
        if name in self._forced:
            return _set(self._engine.active.decisions.get(name), self._forced[name], default)
        if handle is None:
            cause = self._refused.cause
            return Decision(default, "DEFAULT" if cause == "minor" else "ERROR", cause)
        try:
            return self._engine.decide(handle, name, default, context, self._device)
        except Exception as error:
            return Decision(default, "ERROR", self._faulted(error))

    def recommend(
        self,
        name: str,
        *,
        count: int | None = None,
        items: Iterable[str | int] = (),
        among: Iterable[str | int] | None = None,
        stock: Container[str | int] | None = None,
        bought: Iterable[str | int] = (),
        within: Mapping[str, str] | None = None,
        region: str = "",
        context: Mapping[str, Any] | None = None,
    ) -> Recommendation:
        """Return the items that the decision `name` recommends to this visitor, and the decision itself. None of what
        is handed over is kept.

        Without consent, and wherever else nothing is recommended, the items are none, or those of `among` as they were.

        Args:
            count: at most so many; 10 where it is left out, or all of `among`.
            items: ids of what was looked at in this visit, the latest last.
            among: a list to put into another order, such as what a search found, the first first.
            stock: what may be named, everything where it is left out. bought: what may not: bought already, shown here.
            within: attribute to a value that every item must have. region: as the catalogue names it.
            context: as of `decide`.
        """
        listed = None if among is None else _listed(among)
        wanted = Wanted(
            count=count,
            items=_listed(items),
            among=listed,
            stock=stock,
            bought=frozenset(_listed(bought)),
            within=within,
            region=region,
        )
        handle = self._handle
        if handle is None:
            return Recommendation(unchanged(wanted), self.decide(name, None))
        try:
            return recommend(self._engine, handle, name, wanted, context=context, device=self._device)
        except Exception as error:
            return Recommendation(unchanged(wanted), Decision(None, "ERROR", self._faulted(error)))

    def segments(self) -> Outcome:
        """Return, as `data`, the names of the `segments` that this visitor is in, sorted: none where what they read is
        not granted."""
        return self._answer(
            lambda handle: Outcome(True, data={"segments": segments_of(self._engine, handle, self._device)})
        )

    def triggers(self) -> Outcome:
        """Return, as `data`, the `triggers` that are due now and are this app's to act on: a list of `name` and `kind`,
        the one due first first. Each is raised by being told here, and starts over."""
        return self._answer(
            lambda handle: Outcome(True, data={"triggers": due_for_app(self._engine, handle, self._device)})
        )

    def tell_offset(self, minutes: int) -> Outcome:
        """Take in how far the visitor's clock is from UTC, for quiet hours: kept for 90 days, and only for purposes
        that are granted and have a use for it.

        Args:
            minutes: east of UTC.
        """

        def work(handle: bytes) -> Outcome:
            kept = tell_offset(self._engine, handle, minutes, self._device)
            return Outcome(kept, "" if kept else "consent_missing")

        return self._answer(work)

    def recipient_id(self, recipient: str) -> Outcome:
        """Return, as `data`, the `recipient_id` under which a recipient of messages is told of this visitor: for the
        shop to hand over when they sign up there. Cause `consent_missing` where no message to it is granted.

        Args:
            recipient: as the policy names it.
        """

        def work(handle: bytes) -> Outcome:
            known = known_to(self._engine, handle, recipient, self._device)
            return Outcome(True, data={"recipient_id": known}) if known else Outcome(False, "consent_missing")

        return self._answer(work)

    def tell(self, field: str, value: str, holds: bool = True) -> Outcome:
        """Keep what the visitor tells of themselves: a size, a taste, how often, less of something.

        Args:
            field: a key of `preferences`. value: one of its `values`. holds: False to say that it no longer does.

        Returns:
            Accepted once it is kept. Cause `consent_missing`: no purpose that has a use for it is granted; `malformed`:
            the bundle in force reads nothing of the kind. Either way nothing is kept.
        """

        def work(handle: bytes) -> Outcome:
            kept = tell(self._engine, handle, (field, value, holds), self._device)
            return Outcome(kept, "" if kept else "consent_missing")

        return self._answer(work)

    def undo(self, field: str) -> Outcome:
        """Take back the last thing that the visitor told about a field, without a trace; what they told before it holds
        again. Accepted, with `data` of whether any was `undone`."""
        return self._answer(
            lambda handle: Outcome(True, data={"undone": undo(self._engine, handle, field, self._device)})
        )

    def preferences(self) -> Outcome:
        """Return, as `data`, what the visitor can tell and did tell, as `preferences`: by field, the `values` that can
        be told under what they granted, and those of them that `holds`."""
        return self._answer(
            lambda handle: Outcome(True, data={"preferences": preferences(self._engine, handle, self._device)})
        )

    def export(self) -> Outcome:
        """Return, as `data`, everything kept about this visitor in plain values (GDPR Art. 15, 20); empty for
        nothing."""
        return self._answer(lambda handle: Outcome(True, data=rights.export(self._engine, handle)))

    def correct(self, corrections: Mapping[str, str | None]) -> Outcome:
        """Put right what is kept about this visitor (GDPR Art. 16).

        Args:
            corrections: feature to one of its categories, or to None to forget what it holds.

        Returns:
            Accepted, with `data` of the `features` that changed; or why not, with everything as it was.
        """
        return self._answer(
            lambda handle: Outcome(True, data={"features": rights.correct(self._engine, handle, corrections)})
        )

    def erase(self) -> Outcome:
        """Erase everything kept about this visitor (GDPR Art. 17); of who signed in, about account and device.

        Returns:
            Accepted. Cause `pending`: gone for every reader, but a reader of the store's files still delays its last
            trace; call again.
        """
        return self._each(self._engine.erase)

    def _faulted(self, error: Exception) -> str:
        """Return a failed decision's cause, counted where it is a fault of ours."""
        cause = _cause(error)
        if cause == "fault":
            self._engine.failed()
        return cause

    def _each(self, work: Callable[[bytes], Erasure]) -> Outcome:
        """Do it for the visitor, and for the device that they signed in on."""

        def both(handle: bytes) -> Outcome:
            told = [work(one) for one in (handle, self._device) if one is not None]
            return Outcome(True, "pending" if "pending" in told else "")

        return self._answer(both)

    def _answer(self, work: Callable[[bytes], Outcome]) -> Outcome:
        if self._handle is None:
            return self._refused
        try:
            return work(self._handle)
        except Exception as error:
            return _failed(error)


def _listed(items: object) -> tuple[str | int, ...]:
    """Return the ids in what an app handed over; what is none is left out."""
    try:
        given = [] if isinstance(items, (str, bytes)) or not isinstance(items, Iterable) else list(items)
    except Exception as error:
        _LOG.error("a list could not be read: %s", type(error).__name__)
        return ()
    return tuple(item for item in given if isinstance(item, (str, int)))


def _several(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if isinstance(events, Mapping) or not isinstance(events, Iterable):
        raise Malformed("expected several mappings", place="event", remedy="put one event into a list")
    return list(events)


def _parse(described: Mapping[str, Any], now: int) -> Event:
    if not isinstance(described, Mapping):
        raise Malformed("expected a mapping", place="event")
    properties = dict(described)
    name, moment = properties.pop("name", None), properties.pop("time", None)
    return parse_event(name, properties, time=now if moment is None else moment, now=now)


def _set(rule: DecisionRule | None, arm: str, default: Any) -> Decision:
    chosen = rule.arms.get(arm) if rule else None
    if chosen is None:
        return Decision(default, "ERROR", "unknown_decision")
    return Decision(chosen.value, "STATIC", "forced", payload_json=chosen.payload)


_TAKEN = Outcome(True)


def _failed(error: Exception) -> Outcome:
    if isinstance(error, Refusal):
        return Outcome(False, _cause(error), str(error))
    _LOG.error("a request failed: %s", type(error).__name__)
    return Outcome(False, "fault", "something failed here; the log names the kind of error")


_OF_THE_CALL = {
    "context": "bad_context",
    "identifier": "bad_identifier",
    **dict.fromkeys(("choices", "corrections", "event", "offset", "preference"), "malformed"),
    **dict.fromkeys(("purposes", "recipient"), "malformed"),
    **dict.fromkeys(("signal", "tcf", "gpp", "gpc", "consent_mode"), "malformed"),
}
"""Causes of what the caller got wrong, by where the error says it is; a broken document elsewhere is ours."""


def _cause(error: Exception) -> str:
    if isinstance(error, Unavailable):
        return "unavailable"
    if isinstance(error, Forbidden):
        return "forbidden"
    if isinstance(error, Malformed):
        return _OF_THE_CALL.get(error.place.partition(".")[0], "unreadable")
    return "unreadable" if isinstance(error, Unauthentic) else "fault"
