"""A saga under the words of api.md §3 and §4: there it is a task."""

from __future__ import annotations

from collections.abc import Mapping

from sagahook_schemas.base import JsonValue
from sagahook_tracker.domain.runs import TaskStatus

_OF_EVENTS: Mapping[str | None, TaskStatus] = {
    None: "pending",
    "received": "pending",
    "processing": "running",
    "completed": "completed",
    "completed_with_failures": "failed",
    "failed": "failed",
    "ignored": "completed",
}


def of_event(outcome: str | None) -> TaskStatus:
    """Of all sagas of an event together, by how the event stands. What no trigger wanted has nothing left to do."""
    return _OF_EVENTS[outcome]


def words(attributes: Mapping[str, JsonValue] | None, name: str) -> str | None:
    """A search attribute that callers expect as text."""
    value = (attributes or {}).get(name)
    return None if value is None else value if isinstance(value, str) else str(value)


def told(attributes: Mapping[str, JsonValue] | None, result: JsonValue, name: str) -> str | None:
    """What a saga may know from its start, as a search attribute, or only at its end, by its result."""
    found = words(attributes, name)
    return words(result, name) if found is None and isinstance(result, dict) else found


def number(attributes: Mapping[str, JsonValue] | None, name: str) -> int | None:
    """A search attribute that callers expect as a whole number; None where it is none."""
    value = (attributes or {}).get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
