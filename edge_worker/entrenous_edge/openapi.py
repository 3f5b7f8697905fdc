"""The public port as OpenAPI 3.1: written once here, held against the routes and against real answers by tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrenous.decision import REASONS
from entrenous_edge.answers import STATUS
from entrenous_edge.calls import MOST_BYTES
from entrenous_edge.deciding import MOST_DECISIONS, MOST_ITEMS
from entrenous_edge.heads import COOKIE, TOKEN_HEADER, VISITOR_HEADER
from entrenous_edge.taking import MOST_EVENTS

__all__ = ["document"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1}
_FLAG: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ANY_OBJECT: Schema = {"type": "object"}
_IDS: Schema = {"type": "array", "maxItems": MOST_ITEMS, "items": {"type": ["string", "integer"]}}


def _object(required: tuple[str, ...] = (), *, closed: bool = True, **properties: Any) -> Schema:
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found | {"additionalProperties": False} if closed else found


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_EVENTS: Schema = {"type": "array", "minItems": 1, "maxItems": MOST_EVENTS, "items": _of("Event")}
_OUTCOMES: Schema = {"type": "array", "items": _of("Outcome")}
_ASKED: dict[str, Any] = {"visitor": _TEXT, "minor": _FLAG}
_SCHEMAS: Mapping[str, Schema] = {
    "Decision": _object(
        ("value", "reason"),
        value={"type": ["string", "boolean", "number", "null"]},
        reason={"enum": list(REASONS)},
        cause=_NAME,
        tranche=_NAME,
        arm=_NAME,
        payload=_ANY_OBJECT,
        receipt={"type": "string", "pattern": "^[0-9a-f]{16}$"},
    ),
    "Evaluation": _object(
        ("key", "reason", "variant", "metadata"),
        key=_NAME,
        reason={"enum": list(REASONS)},
        variant=_TEXT,
        metadata={"type": "object", "additionalProperties": _TEXT},
        value={"type": ["string", "boolean", "number"]},
    ),
    "FlagError": _object(("errorCode", "errorDetails"), key=_TEXT, errorCode=_NAME, errorDetails=_TEXT),
    "Error": _object(("error",), error=_object(("code", "message"), code={"enum": sorted(STATUS)}, message=_TEXT)),
    "Outcome": _object(("accepted",), closed=False, accepted=_FLAG, cause=_NAME, message=_TEXT),
    "Event": _object(("name",), closed=False, name=_NAME, time={"type": "integer"}),
    "Batch": _object(("events",), **_ASKED, events=_EVENTS),
    "Context": {"type": "object"},
}

_PROVEN: list[Schema] = [{"token": []}, {"cookie": []}]
_ANYONE: list[Schema] = [{}, *_PROVEN]


def _answers(schema: Schema, *more: tuple[str, str], error: str = "Error") -> Schema:
    """Return the responses of an operation: what is answered, and how it is refused."""
    found: Schema = {"200": {"description": "done", "content": {"application/json": {"schema": schema}}}}
    for status, said in more:
        found[status] = {"description": said}
    either = {"anyOf": [_of(error), _of("Error")]} if error != "Error" else _of("Error")
    for status in ("4XX", "5XX"):
        found[status] = {"description": "refused", "content": {"application/json": {"schema": either}}}
    return found


def _operation(
    said: str,
    body: Schema | None,
    schema: Schema,
    *more: tuple[str, str],
    who: list[Any] | None = None,
    error: str = "Error",
    parameters: tuple[Schema, ...] = (),
) -> Schema:
    found: Schema = {"summary": said, "responses": _answers(schema, *more, error=error)}
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if who is not None:
        found["security"] = [{"key": [], **one} for one in who]
    if parameters:
        found["parameters"] = list(parameters)
    return found


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


_EVALUATION = _object(closed=False, context=_of("Context"))
_CHOICES: Schema = {
    "oneOf": [
        _object(("choices",), choices={"type": "object", "additionalProperties": _FLAG}),
        _object(("tcf",), tcf=_TEXT),
        _object(("gpp",), gpp=_TEXT),
        _object(("gpc",), gpc=_TEXT),
        _object(
            ("consent_mode", "cmp"),
            consent_mode={"type": "object", "additionalProperties": {"enum": ["granted", "denied"]}},
            cmp=_TEXT,
        ),
    ]
}
_WANTED = _object(
    ("decision",),
    decision=_TEXT,
    **_ASKED,
    context=_of("Context"),
    count={"type": "integer", "minimum": 1, "maximum": MOST_ITEMS},
    items=_IDS,
    among=_IDS,
    stock=_IDS,
    bought=_IDS,
    within={"type": "object", "additionalProperties": _TEXT},
    region=_TEXT,
)
_TOLD = _object(
    ("preferences",),
    closed=False,
    preferences=_ANY_OBJECT,
)

_PATHS: Mapping[str, Mapping[str, Schema]] = {
    "/ofrep/v1/evaluate/flags/{key}": {
        "post": _operation(
            "Evaluate one flag (OFREP 0.2)",
            _EVALUATION,
            _of("Evaluation"),
            who=_ANYONE,
            error="FlagError",
            parameters=(_in_path("key"),),
        )
    },
    "/ofrep/v1/evaluate/flags": {
        "post": _operation(
            "Evaluate every flag (OFREP 0.2)",
            _EVALUATION,
            _object(("flags",), flags={"type": "array", "items": _of("Evaluation")}),
            ("304", "the answer is the one that If-None-Match names"),
            who=_ANYONE,
            error="FlagError",
        )
    },
    "/v1/decide": {
        "post": _operation(
            "Take one or several decisions for one visitor",
            _object(
                ("decisions",),
                decisions={"type": "array", "minItems": 1, "maxItems": MOST_DECISIONS, "items": _TEXT},
                **_ASKED,
                context=_of("Context"),
            ),
            _object(("decisions",), decisions={"type": "object", "additionalProperties": _of("Decision")}),
            who=_ANYONE,
        )
    },
    "/v1/recommend": {
        "post": _operation(
            "Recommend items to one visitor",
            _WANTED,
            _object(("items", "decision"), items=_IDS, decision=_of("Decision")),
            who=_ANYONE,
        )
    },
    "/v1/why": {
        "post": _operation(
            "Take one decision for who is proven, and say why it is so",
            _object(("decision",), decision=_TEXT, context=_of("Context"), language={"enum": ["en", "fr"]}),
            _object(
                ("decision", "lines", "effects", "withheld"),
                decision=_of("Decision"),
                lines=_TEXTS,
                effects={
                    "type": "array",
                    "items": _object(
                        ("feature", "words", "effect"), feature=_TEXT, words=_TEXT, effect={"type": "number"}
                    ),
                },
                withheld=_TEXTS,
            ),
            who=_PROVEN,
        )
    },
    "/v1/events": {
        "post": _operation(
            "Take in events",
            {"anyOf": [_of("Batch"), _object(("batches",), batches={"type": "array", "items": _of("Batch")})]},
            _object(("outcomes",), outcomes={"type": "array", "items": {"anyOf": [_of("Outcome"), _OUTCOMES]}}),
            who=_ANYONE,
        )
    },
    "/v1/consent": {
        "get": _operation(
            "Say what was chosen, and what a banner is to ask for",
            None,
            _object(("granted", "refused", "ask"), granted=_TEXTS, refused=_TEXTS, ask=_TEXTS),
            who=_ANYONE,
        ),
        "post": _operation("Take in a whole choice, as one signal", _CHOICES, _of("Outcome"), who=_ANYONE),
    },
    "/v1/objection": {
        "post": _operation(
            "Object to purposes, or to all",
            _object(purposes={"type": ["array", "null"], "items": _TEXT}),
            _of("Outcome"),
            ("202", "done, and a last trace is yet to go"),
            who=_PROVEN,
        )
    },
    "/v1/visitor": {
        "get": _operation("Export what is kept", None, _ANY_OBJECT, who=_PROVEN),
        "delete": _operation(
            "Erase what is kept", None, _of("Outcome"), ("202", "done, and a last trace is yet to go"), who=_PROVEN
        ),
        "patch": _operation(
            "Put right what is kept",
            _object(
                ("corrections",),
                corrections={
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"type": ["string", "null"]},
                },
            ),
            _of("Outcome"),
            who=_PROVEN,
        ),
    },
    "/v1/segments": {
        "get": _operation("Name the segments of the visitor", None, _object(closed=False, segments=_TEXTS), who=_PROVEN)
    },
    "/v1/triggers": {
        "post": _operation(
            "Raise what is due for the page",
            _object(utc_offset={"type": "integer", "minimum": -840, "maximum": 840}),
            _object(closed=False, triggers={"type": "array"}),
            who=_PROVEN,
        )
    },
    "/v1/recipient": {
        "post": _operation(
            "Say what a recipient of messages knows the visitor by",
            _object(("recipient",), recipient=_TEXT),
            _object(closed=False, recipient_id=_TEXT),
            who=_PROVEN,
        )
    },
    "/v1/preferences": {
        "get": _operation("Say what can be told and was", None, _TOLD, who=_PROVEN),
        "post": _operation(
            "Tell a taste, or take the last one back",
            {
                "oneOf": [
                    _object(("field", "value"), **_ASKED, field=_TEXT, value=_TEXT, holds=_FLAG),
                    _object(("undo",), **_ASKED, undo=_TEXT),
                ]
            },
            _of("Outcome"),
            who=_ANYONE,
        ),
    },
    "/v1/bundle": {"get": _operation("Say what serves, and where it is fetched", None, _ANY_OBJECT)},
    "/v1/bundle/{name}": {
        "get": {
            "summary": "Fetch a file of the signed repository (TUF), to verify it yourself",
            "parameters": [_in_path("name")],
            "responses": {
                "200": {"description": "the file", "content": {"application/octet-stream": {}}},
                "4XX": {"description": "none", "content": {"application/json": {"schema": _of("Error")}}},
                "5XX": {"description": "not now", "content": {"application/json": {"schema": _of("Error")}}},
            },
        }
    },
    "/livez": {"get": _operation("Say that the process answers", None, _object(("status",), status=_TEXT))},
    "/readyz": {
        "get": {
            "summary": "Say whether decisions are made, and on what",
            "responses": {
                status: {"description": said, "content": {"application/json": {"schema": _ANY_OBJECT}}}
                for status, said in (("200", "ready"), ("503", "no bundle serves, or it is draining"))
            },
        }
    },
    "/openapi.json": {"get": _operation("This document", None, _ANY_OBJECT)},
}


def document() -> dict[str, Any]:
    """Return the document as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "entrenous worker",
            "version": "1",
            "description": "Decisions under consent, at the edge. Bodies are one JSON object of at most "
            f"{MOST_BYTES:,} bytes; identifiers travel in a body, a header or a cookie, never in an address.",
        },
        "paths": {path: dict(operations) for path, operations in _PATHS.items()},
        "components": {
            "schemas": dict(_SCHEMAS),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "a publishable key"},
                "token": {"type": "apiKey", "in": "header", "name": TOKEN_HEADER.title()},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "visitor": {"type": "apiKey", "in": "header", "name": VISITOR_HEADER.title()},
            },
        },
    }
