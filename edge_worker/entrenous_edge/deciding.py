"""Decisions over HTTP: our own routes, and OFREP 0.2 for every OpenFeature client.

Decisions run where they are asked: they wait for nothing but the store, 5 ms at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from entrenous import Decision
from entrenous.decision import Basis
from entrenous.decisions.why import LANGUAGES
from entrenous_edge.answers import ENCODE, PRIVATE, Problem, only
from entrenous_edge.calls import Call, Reply, reply

if TYPE_CHECKING:
    from entrenous_edge.app import Worker

__all__ = ["MOST_DECISIONS", "MOST_ITEMS", "Deciding"]

MOST_DECISIONS = 64
_MOST_OUTCOMES = 4096
_NO_BUNDLE = Decision(None, "DEFAULT", "no_bundle")
MOST_ITEMS = 1000
"""Ids in one list of a call that asks for recommendations."""


class Deciding:
    """The routes that decide.

    Args:
        worker: what they work on.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._outcomes: dict[int, tuple[Basis, str]] = {}

    # Our own

    async def decide(self, call: Call) -> Reply:
        """Answer one or several decisions for one visitor."""
        worker = self._worker
        worker.door.check_key(call)
        body = await call.json()
        only(body, "decisions", "visitor", "context", "minor")
        names, context = body.get("decisions"), _context(body)
        if type(names) is not list or not 0 < len(names) <= MOST_DECISIONS:
            raise Problem("malformed", f"decisions: expected 1 to {MOST_DECISIONS} names")
        for name in names:
            if type(name) is not str:
                raise Problem("malformed", "decisions: expected names")
        identifier = await worker.asking(call, body)
        visitor = worker.seen(call, identifier)
        found = {name: worker.decide(visitor, name, context) for name in names}
        told = ",".join([f"{ENCODE(name)}:{self._spoken(decision)}" for name, decision in found.items()])
        return Reply(200, PRIVATE, f'{{"decisions":{{{told}}}}}'.encode())

    def _spoken(self, decision: Decision) -> str:
        """Return a decision as JSON. All but the receipt's number is the same for every visitor of one outcome."""
        receipt = decision.receipt
        if receipt is None:
            return ENCODE(_told(decision))
        known = self._outcomes.get(id(receipt.basis))
        if known is None or known[0] is not receipt.basis:
            told = {key: value for key, value in _told(decision).items() if key != "receipt"}
            if len(self._outcomes) >= _MOST_OUTCOMES:
                self._outcomes.clear()
            known = self._outcomes[id(receipt.basis)] = receipt.basis, ENCODE(told)[:-1]
        return f'{known[1]},"receipt":"{receipt.id:016x}"}}'

    async def recommend(self, call: Call) -> Reply:
        """Answer what one decision recommends to one visitor."""
        worker = self._worker
        worker.door.check_key(call)
        body = await call.json()
        only(body, "decision", *_WANTED, "visitor", "context", "minor")
        name, context = _name(body), _context(body)
        wanted = {key: _READ[key](key, body[key]) for key in _WANTED if key in body}
        visitor = worker.seen(call, await worker.asking(call, body))
        if isinstance(visitor, Decision):
            decision, items = worker.counted(visitor, name), wanted.get("among", [])[: wanted.get("count")]
        else:
            found = visitor.recommend(name, context=context, **wanted)
            decision, items = worker.counted(found.decision, name), list(found.items)
        return reply({"items": items, "decision": _told(decision)})

    async def why(self, call: Call) -> Reply:
        """Answer one decision of whoever asks, if that is proven, and why it is so. It is a decision like any other."""
        worker = self._worker
        worker.door.check_key(call)
        body = await call.json()
        only(body, "decision", "context", "language")
        name, context, language = _name(body), _context(body), body.get("language", "en")
        if language not in LANGUAGES:
            raise Problem("malformed", f"language: expected one of {', '.join(LANGUAGES)}")
        identifier = worker.door.proven(call).identifier
        decision = worker.decide(worker.seen(call, identifier), name, context)
        found = decision.why(language)
        effects = [{"feature": one.feature, "words": one.words, "effect": one.effect} for one in found.effects]
        told = {"lines": list(found.lines), "effects": effects, "withheld": list(found.withheld)}
        return reply({"decision": _told(decision), **told})

    # OFREP (OpenFeature Remote Evaluation Protocol 0.2)

    async def flag(self, call: Call, key: str) -> Reply:
        """Evaluate one flag."""

        def evaluate(identifier: str, context: Mapping[str, Any]) -> Reply:
            if key in self._worker.names:
                visitor = self._worker.seen(call, identifier)
                return reply(_evaluated(key, self._worker.decide(visitor, key, context)))
            if self._worker.client.bundle is None:  # nobody knows which flags there are
                return reply(_evaluated(key, self._worker.counted(_NO_BUNDLE, key)))
            return _error({"key": key}, "FLAG_NOT_FOUND", "no such decision", 404)

        return await self._evaluate(call, evaluate, key=key)

    async def flags(self, call: Call) -> Reply:
        """Evaluate every flag; 304 where the answer is the one that the client holds."""

        def evaluate(identifier: str, context: Mapping[str, Any]) -> Reply:
            worker, visitor = self._worker, self._worker.seen(call, identifier)
            found = [_evaluated(key, worker.decide(visitor, key, context)) for key in worker.names]
            etag = _etag(found)
            if etag in call.headers.get("if-none-match", ""):
                return Reply(304, ((b"etag", etag.encode()), (b"cache-control", b"private, no-store")), b"")
            return reply({"flags": found}, more=((b"etag", etag.encode()),))

        return await self._evaluate(call, evaluate)

    async def _evaluate(self, call: Call, evaluate: Callable[[str, Mapping[str, Any]], Reply], **named: str) -> Reply:
        """Answer an evaluation, or what OFREP has a code of its own for, beside what is `named`."""
        worker = self._worker
        worker.door.check_key(call)
        try:
            body = await call.json()
        except Problem as error:
            if error.code != "malformed":
                raise
            return _error(named, "PARSE_ERROR", error.message)
        context = body.get("context", {})
        if not isinstance(context, Mapping):
            return _error(named, "INVALID_CONTEXT", "context: expected an object")
        try:
            asking = worker.door.asking(call, context.get("targetingKey"))
        except Problem as error:
            if error.code != "malformed":
                raise
            return _error(named, "INVALID_CONTEXT", error.message)
        if not asking.identifier:
            return _error(named, "TARGETING_KEY_MISSING", "context.targetingKey: is missing")
        known = worker.client.context_keys  # clients of a page send more than this bundle knows
        return evaluate(asking.identifier, {key: context[key] for key in known & context.keys()})


def _error(named: Mapping[str, str], code: str, message: str, status: int = 400) -> Reply:
    return reply({**named, "errorCode": code, "errorDetails": message}, status=status)


def _etag(found: list[dict[str, Any]]) -> str:
    """Return the tag of an answer: of what it says, whichever receipts stand behind it."""
    told = [{**one, "metadata": {k: v for k, v in one["metadata"].items() if k != "receipt"}} for one in found]
    return f'"{blake2b(ENCODE(told).encode(), digest_size=12).hexdigest()}"'


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("decision")
    if not isinstance(name, str):
        raise Problem("malformed", "decision: expected a name")
    return name


def _context(body: Mapping[str, Any]) -> dict[str, Any]:
    context = body.get("context", {})
    if type(context) is not dict:
        raise Problem("malformed", "context: expected an object")
    return context


def _ids(key: str, value: Any) -> list[str | int]:
    if type(value) is not list or len(value) > MOST_ITEMS or not all(type(one) in (str, int) for one in value):
        raise Problem("malformed", f"{key}: expected at most {MOST_ITEMS} ids, texts or integers")
    return value


def _stock(key: str, value: Any) -> frozenset[str | int]:
    return frozenset(_ids(key, value))


def _count(key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST_ITEMS:
        raise Problem("malformed", f"{key}: expected 1 to {MOST_ITEMS}")
    return value


def _within(key: str, value: Any) -> dict[str, str]:
    if type(value) is not dict or not all(type(one) is str for one in value.values()):
        raise Problem("malformed", f"{key}: expected an object of texts")
    return value


def _region(key: str, value: Any) -> str:
    if type(value) is not str:
        raise Problem("malformed", f"{key}: expected text")
    return value


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "among": _ids,
    "bought": _ids,
    "count": _count,
    "items": _ids,
    "region": _region,
    "stock": _stock,
    "within": _within,
}
_WANTED = tuple(_READ)


def _told(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {"value": decision.value, "reason": decision.reason}
    if decision.cause:
        told["cause"] = decision.cause
    if decision.tranche:
        told["tranche"] = decision.tranche
    receipt = decision.receipt
    if receipt is not None:
        if receipt.basis.arm:
            told["arm"] = receipt.basis.arm
        if decision.payload_json:
            told["payload"] = decision.payload
        told["receipt"] = f"{receipt.id:016x}"
    return told


def _evaluated(key: str, decision: Decision) -> dict[str, Any]:
    """Return an OFREP evaluation; without a value where there is none, so that the caller's own default holds."""
    metadata: dict[str, str] = {}
    if decision.cause:
        metadata["cause"] = decision.cause
    if decision.tranche:
        metadata["tranche"] = decision.tranche
    if decision.receipt is not None:
        metadata["receipt"] = f"{decision.receipt.id:016x}"
    if decision.payload_json:
        metadata["payload"] = decision.payload_json
    found = {"key": key, "reason": decision.reason, "variant": decision.arm, "metadata": metadata}
    return found if decision.value is None else {**found, "value": decision.value}
