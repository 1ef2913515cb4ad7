"""A webhook's body: strict JSON, and what it says of itself."""

from __future__ import annotations

from orjson import JSONDecodeError, loads

from sagahook_ingest.domain.refusals import Refusal
from sagahook_schemas.base import JsonValue

DEPTH_LIMIT = 100
"""Lists and objects within each other. Every reader further on must be able to follow."""

EVENT_TYPE_FIELDS = ("event_type", "event", "type")
_EVENT_TYPE_LIMIT = 255


def parse(body: bytes) -> JsonValue:
    """Raises Refusal. NaN, Infinity, numbers beyond a double, bad UTF-8, lone surrogates and control
    characters within strings are no JSON to orjson, as they are none to RFC 8259."""
    if not body:
        raise Refusal(400, "The body is empty: a webhook is a JSON document")
    try:
        parsed: JsonValue = loads(body)
    except JSONDecodeError as invalid:
        raise Refusal(400, f"The body is not valid JSON: {invalid}") from None
    # Counting brackets costs next to nothing and clears almost every body of being too deep.
    if body.count(b"{") + body.count(b"[") > DEPTH_LIMIT and _depth_exceeds(parsed, DEPTH_LIMIT):
        raise Refusal(400, f"The body is nested more than {DEPTH_LIMIT} levels deep")
    return parsed


def event_type(body: JsonValue) -> str:
    """The first of EVENT_TYPE_FIELDS that holds a usable name; "" where none does."""
    if isinstance(body, dict):
        for field in EVENT_TYPE_FIELDS:
            named = body.get(field)
            if isinstance(named, str) and 0 < len(named) <= _EVENT_TYPE_LIMIT and named.isprintable():
                return named
    return ""


def _depth_exceeds(parsed: JsonValue, limit: int) -> bool:
    level = [parsed] if isinstance(parsed, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return bool(level)
