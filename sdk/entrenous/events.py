"""What a visitor did: one event, checked strictly and held in a few fields.

Names are GA4's recommended e-commerce events plus `page_view`, `search`, `login`, `sign_up` and `share`
(developers.google.com/analytics/devguides/collection/ga4/reference/events). Money is integer minor units with its
ISO 4217 currency: GA4's decimals are multiplied at the boundary, by the caller who knows the currency.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from entrenous_consent.errors import Malformed

__all__ = [
    "ATTRIBUTES",
    "CATEGORY_FIELDS",
    "EVENT_NAMES",
    "LARGEST",
    "LONGEST",
    "MONEY_FIELDS",
    "NUMBER_FIELDS",
    "Attribute",
    "Event",
    "attribute_name",
    "parse_attribute",
    "parse_event",
]

EVENT_NAMES = frozenset(
    {
        "add_payment_info",
        "add_shipping_info",
        "add_to_cart",
        "add_to_wishlist",
        "begin_checkout",
        "login",
        "page_view",
        "purchase",
        "refund",
        "remove_from_cart",
        "search",
        "select_item",
        "select_promotion",
        "share",
        "sign_up",
        "view_cart",
        "view_item",
        "view_item_list",
        "view_promotion",
        "view_search_results",
    }
)
MONEY_FIELDS = ("price", "value")
NUMBER_FIELDS = (*MONEY_FIELDS, "quantity")
CATEGORY_FIELDS = ("brand", "category", "colour", "item", "size")
LONGEST = dict.fromkeys((*CATEGORY_FIELDS, "id", "transaction_id", "value"), 128)
LARGEST = {"price": 10**10, "value": 10**10, "quantity": 10**6}
_LARGEST_NUMBER = 3.0e38
"""Within float32."""
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing a visitor did.

    Attributes:
        name: one of `EVENT_NAMES`.
        time: Unix seconds, not after the moment it was observed.
        id: eight bytes for idempotence, or empty; the app's own id is not kept.
        transaction: eight bytes that are the same for all lines of one order, or empty; the order's own id is not kept.
        price: money a unit, minor units. value: money of the line, minor units. quantity: units.
        brand, category, colour, item, size: as the shop names them, empty when absent; `item` numbers a product.
    """

    name: str
    time: int
    id: bytes = b""
    transaction: bytes = b""
    price: int | None = None
    value: int | None = None
    quantity: int | None = None
    brand: str = ""
    category: str = ""
    colour: str = ""
    item: str = ""
    size: str = ""


ATTRIBUTES = ("imported:", "told:")
"""How the name of an attribute begins: no event's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """What was said of a visitor: imported from another system, or told by themselves.

    Attributes:
        name: `imported:` or `told:`, and the short key of what it is about. time: Unix seconds, when it was said.
        value: a text, or a number. holds: False where it is taken back: "no longer this", or "less of this".
        id: as of an event.
    """

    name: str
    time: int
    value: str | float
    holds: bool = True
    id: bytes = b""


def attribute_name(kind: str, field: str) -> str:
    """Return the name of the attributes that a feature of a kind listens to."""
    return f"imported:{field}" if kind == "imported" else f"told:{field}"


def parse_attribute(name: str, value: object, *, time: object, now: int, holds: bool = True, id: str = "") -> Attribute:
    """Return an attribute, checked as an event is.

    Raises:
        Malformed: a value that is neither text nor a finite number, or a time that is none or in the future.
    """
    if isinstance(value, str):
        said: str | float = _text("value", value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST_NUMBER:
        said = float(value)
    else:
        remedy = f"give text, or a number of at most {_LARGEST_NUMBER:g}"
        raise Malformed("is neither text nor a number that can be kept", place="event.value", remedy=remedy)
    moment = _moment(time, now)
    return Attribute(name=name, time=moment, value=said, holds=holds, id=_digest(_text("id", id)) if id else b"")


def _text(key: str, value: object) -> str:
    if type(value) is str and 0 < len(value) <= LONGEST[key]:
        return value
    if not isinstance(value, str) or not value:
        raise Malformed("expected text", place=f"event.{key}")
    if len(value) > LONGEST[key]:
        raise Malformed(f"is longer than {LONGEST[key]} characters", place=f"event.{key}", remedy="shorten it")
    return value


def _amount(key: str, value: object) -> int:
    if type(value) is int and 0 <= value <= LARGEST[key]:
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        remedy = "give minor units, 4900 for 49.00" if key in MONEY_FIELDS else "give whole units"
        raise Malformed("expected an integer", place=f"event.{key}", remedy=remedy)
    if not 0 <= value <= LARGEST[key]:
        raise Malformed(f"is outside 0..{LARGEST[key]}", place=f"event.{key}")
    return value


def _currency(key: str, value: object) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise Malformed("is not an ISO 4217 code", place=f"event.{key}", remedy="give three capitals, as EUR")
    return value


_READ: Mapping[str, Callable[[str, object], Any]] = {
    **dict.fromkeys(NUMBER_FIELDS, _amount),
    **dict.fromkeys((*CATEGORY_FIELDS, "id", "transaction_id"), _text),
    "currency": _currency,
}


def parse_event(name: object, properties: Mapping[str, Any], *, time: object, now: int) -> Event:
    """Return the event that an app described.

    `id` (the app's own, for idempotence) and `transaction_id` become eight bytes of their SHA-256. No feature reads the
    second: it tells an experiment's orders apart, as long as the contribution waits.

    Args:
        name: one of `EVENT_NAMES`.
        properties: the fields of `Event`, plus `currency` (required beside money), `id` and `transaction_id`.
        time: Unix seconds.
        now: the observer's clock, Unix seconds.

    Raises:
        Malformed: an unknown name or field, a wrong type or size, money without currency, or a time in the future.
    """
    if not isinstance(name, str) or name not in EVENT_NAMES:
        raise Malformed("is not an event we know", place="event.name", remedy="use a GA4 e-commerce name")
    moment = _moment(time, now)
    fields: dict[str, Any] = {}
    for key, value in properties.items():
        read = _READ.get(key)
        if read is None:
            known = ", ".join(sorted(_READ))  # the key itself is the caller's text: it may be anything
            raise Malformed("has a field we do not know", place="event", remedy=f"remove it; known: {known}")
        fields[key] = read(key, value)
    fields.pop("currency", None)
    if "currency" not in properties and ("price" in fields or "value" in fields):
        raise Malformed("is missing beside money", place="event.currency", remedy="add the ISO 4217 code")
    if "id" in fields:
        fields["id"] = _digest(fields["id"])
    if "transaction_id" in fields:
        fields["transaction"] = _digest(fields.pop("transaction_id"))
    return Event(name=name, time=moment, **fields)


def _moment(time: object, now: int) -> int:
    if not isinstance(time, int) or isinstance(time, bool) or time < 0:
        raise Malformed("expected Unix seconds", place="event.time")
    if time > now:
        raise Malformed("is in the future", place="event.time", remedy="check the clock that stamps events")
    return time


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]
