"""Forms in: bounded, in UTF-8, every field known, and each once but for those that say otherwise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from entrenous_edge.answers import Problem

__all__ = ["MOST_FORM_BYTES", "MOST_FORM_FIELDS", "Form", "parse_form", "read_form"]

MOST_FORM_BYTES = 16 << 10
"""The most bytes that a form may have."""

MOST_FORM_FIELDS = 256
"""The most fields that a form may have, each time it stands counted."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a form said: values by field, in the order they were sent."""

    fields: dict[str, tuple[str, ...]]

    def one(self, field: str) -> str:
        """Return the value of a field, empty where it was not sent."""
        return self.fields.get(field, ("",))[0]

    def every(self, field: str, known: Collection[str]) -> frozenset[str]:
        """Return the values of a field.

        Raises:
            Problem: one of them is not `known`, or stands twice.
        """
        given = self.fields.get(field, ())
        if len(set(given)) != len(given) or not set(given) <= set(known):
            raise Problem("malformed", f"{field}: holds a value that is not known here, or one twice")
        return frozenset(given)

    def choice(self, field: str, known: Collection[str]) -> str:
        """Return the value of a field that has to be one of some.

        Raises:
            Problem: it is none of them.
        """
        value = self.one(field)
        if value not in known:
            raise Problem("malformed", f"{field}: expected one of {', '.join(known)}")
        return value


async def read_form(request: Request, once: Collection[str], several: Collection[str] = ()) -> Form:
    """Return the form in a request's body.

    Raises:
        Problem: another content type, too many bytes, or what `parse_form` refuses.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem("unsupported_media_type", "send application/x-www-form-urlencoded")
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_FORM_BYTES:
            raise Problem("too_large", f"send at most {MOST_FORM_BYTES} bytes")
        parts.append(chunk)
    return parse_form(b"".join(parts), once, several)


def parse_form(data: bytes, once: Collection[str], several: Collection[str] = ()) -> Form:
    """Return the form in `data`.

    Args:
        once: fields that may be sent, and not twice. several: fields that may be sent any number of times.

    Raises:
        Problem: it is no form in UTF-8, it has a field that is not named here, or one twice.
    """
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_FORM_FIELDS,
        )
    except ValueError as error:
        raise Problem("malformed", "the body is not a form in UTF-8") from error
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if name not in once and name not in several:
            raise Problem("malformed", "the form has a field that is not known here")
        if name in fields and name not in several:
            raise Problem("malformed", f"{name}: is sent twice")
        fields[name] = (*fields.get(name, ()), value)
    return Form(fields)
