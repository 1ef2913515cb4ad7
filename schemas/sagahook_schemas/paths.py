"""Fields of a webhook's body by dotted path: ingest asks whether they are there, the router takes their value."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from orjson import dumps

from sagahook_schemas.base import JsonValue


class _Missing(Enum):
    MISSING = "missing"


MISSING: Final = _Missing.MISSING

_EXACT = 2.0**53
"""Below it a float holds every integer."""


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

    So `1` and `"1"` are the same identity: senders are seldom strict about it. None for what cannot identify: an
    object, a list, null, and a float whose last digits may have been lost when it was read (orjson makes a float
    of an integer beyond 64 bits), so that two different ids would be taken for one.
    """
    match value:
        case str():
            return value
        case bool():
            return dumps(value).decode()
        case int():
            return str(value)
        case float() if abs(value) < _EXACT:
            return dumps(value).decode()
    return None


def identity_of(values: Iterable[JsonValue | _Missing]) -> str | None:
    """What several fields together contribute to an identity: the JSON list of what each contributes by itself,
    so that `("a", "b,c")` and `("a,b", "c")` differ. A single field is itself, as if it had been named alone. None
    where one of them cannot identify."""
    parts = [None if value is MISSING else identity_value(value) for value in values]
    if any(part is None for part in parts):
        return None
    return parts[0] if len(parts) == 1 else dumps(parts).decode()
