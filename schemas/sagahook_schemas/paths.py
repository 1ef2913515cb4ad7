"""Fields of a webhook's body by dotted path: ingest asks whether they are there, the router takes their value."""

from __future__ import annotations

from enum import Enum
from typing import Final

from orjson import dumps

from sagahook_schemas.base import JsonValue


class _Missing(Enum):
    MISSING = "missing"


MISSING: Final = _Missing.MISSING


def lookup(body: JsonValue, path: str) -> JsonValue | _Missing:
    """The value at `order.id`, or MISSING where it is absent or null. Only objects are entered."""
    found = body
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return MISSING
        found = found[name]
    return MISSING if found is None else found


def identity_value(value: JsonValue) -> str | None:
    """What a field's value contributes to an identity: a string itself, any other scalar its JSON text.

    So `1` and `"1"` are the same identity: senders are seldom strict about it. An object or a list has none.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list) or value is None:
        return None
    return dumps(value).decode()
