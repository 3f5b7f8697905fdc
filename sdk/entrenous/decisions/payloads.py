"""What a payload may say: never a price, never an invented urgency, never what was inferred of a visitor.

Base prices are the same for everyone, so no payload can express one. A visitor who sees a payload should not be able to
tell from it what a shop keeps about them: no text tells them what they looked at, or what they are like, names a
feature, or leaves a gap to be filled in with one. What a shop says to everyone passes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from entrenous_consent.parsing import Table

__all__ = ["check_payload", "complaints"]

_DEEPEST = 8
_GAP = re.compile(r"\{\{|\$\{|\{\w+\}|<%")
_PRICE = re.compile(r"(^|_)(base_?price|unit_?price|list_?price|price|prices|prix|tarif)(_|$)")
_URGENCY = re.compile(
    r"(^|_)(countdown|timer|stock_?left|left_in_stock|remaining|viewers|watching|scarcity|urgency)(_|$)"
)
_HURRY = re.compile(
    r"\bonly \d+ left\b|\blast chance\b|\bhurry\b|\bselling (out )?fast\b"
    r"|\b\d+ (people|others) (are )?(viewing|watching|looking)"
    r"|\bplus que \d+\b|\bderni[eè]re chance\b|\bd[eé]p[eê]chez-vous\b|\b\d+ personnes (regardent|consultent)",
    re.IGNORECASE,
)
_REPLAY = re.compile(
    r"\b(because|since|as|when|while) you(['’]ve| have)? "
    r"(viewed|looked|visited|bought|browsed|searched|clicked|left|were)\b"
    r"|\byou(['’]ve| have)? (recently )?(viewed|looked at|visited|browsed|searched|abandoned|left behind)\b"
    r"|\b(we|we['’]ve|we have) (noticed|seen|saw|know)\b|\b(you seem|you look like|people like you)\b"
    r"|\bvous avez (r[eé]cemment )?"
    r"(vu|consult[eé]|regard[eé]|visit[eé]|cherch[eé]|recherch[eé]|abandonn[eé]|laiss[eé])\b"
    r"|\bnous avons (remarqu[eé]|vu|not[eé])\b|\b(vous semblez|les personnes comme vous|puisque vous|parce que vous)\b",
    re.IGNORECASE,
)
_TRAITS = re.compile(
    r"\b(churn(ed|ing)?|propensity|purchase likelihood|lifetime value|(cold|warm|hot|high.value|low.value) "
    r"(visitor|customer)s?|price.sensitive|bargain hunters?|impulse buyers?)\b"
    r"|\b(you|your|vous|votre|vos)\b.{0,40}"
    r"\b(pregnan\w*|enceinte|diab[eè]t\w*|divorc\w*|depress\w*|d[eé]pressi\w*|illness|maladie|debts?|dettes?)\b",
    re.IGNORECASE,
)


def check_payload(payload: Any, table: Table, features: Collection[str] = ()) -> None:
    """Refuse a payload that is no JSON object, is nested too deeply, or says what none may.

    Args:
        features: names that no text may hold.

    Raises:
        Malformed: with the place inside the payload.
    """
    if not isinstance(payload, dict):
        raise table.refuse("payload", "is not a JSON object")
    for place, what, remedy in complaints(payload, features):
        raise table.refuse(f"payload{place}", what, remedy)


def complaints(payload: Any, features: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a parsed payload: the place in it, what, and what to do; see `check_payload`."""
    telling = [name for name in features if "_" in name]  # the others are words of every day, like `hour`
    yield from _below(payload, "", 0, telling)


def _below(value: Any, place: str, depth: int, features: Collection[str]) -> Iterator[tuple[str, str, str]]:
    if depth > _DEEPEST:
        yield place, f"is nested deeper than {_DEEPEST}", "flatten it"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _key(str(key), f"{place}.{key}")
            yield from _below(inner, f"{place}.{key}", depth + 1, features)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _below(inner, f"{place}[{i}]", depth + 1, features)
    elif isinstance(value, str):
        yield from _text(value, place)
        if _GAP.search(value) or any(name in value for name in features):
            yield place, "names what is kept about visitors, or leaves a gap for it", "write out what everyone may read"


def _key(key: str, place: str) -> Iterator[tuple[str, str, str]]:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s.-]+", "_", key).lower()
    if _PRICE.search(plain):
        yield place, "expresses a price, and prices are the same for everyone", "use an offer of a promotion"
    if _URGENCY.search(plain):
        yield place, "creates an urgency that nobody checks", "leave it out; an offer states its own validity"


def _text(text: str, place: str) -> Iterator[tuple[str, str, str]]:
    if _HURRY.search(text):
        yield place, "presses with a scarcity that nobody checks", "say what the offer is, and until when it is valid"
    if _REPLAY.search(text):
        yield place, "tells visitors what they did or how they are seen", "say what is offered, not why it is"
    if _TRAITS.search(text):
        yield place, "names a trait that was inferred", "say what is offered, not for whom"
