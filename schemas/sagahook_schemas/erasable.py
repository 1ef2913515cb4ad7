"""What of the endless log can be erased: the payloads of sagas and webhooks, each sealed under a data key.

A sealed value is a text `sealed:1:<key id>:<base64url>`. Where the contract has a text, that text stands in its place;
where it has any JSON, the object `{"$sealed": text}`. So a record is one of its type whether its payload is sealed or
not, and whoever has no key still reads everything else of it: names, states, times, ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sagahook_schemas.base import JsonValue

KEY_EXTENSION = "erasurekey"
"""The envelope's extension that names the data key of a record."""

MARK = "$sealed"
TOKEN = re.compile(r"sealed:1:([0-9a-f]{32}):([A-Za-z0-9_-]+)")

ERASED: JsonValue = {"erased": True}
"""In place of JSON whose key is gone."""

ERASED_TEXT = "[erased]"
"""In place of a text whose key is gone."""

Shape = Literal["text", "value", "values", "lists", "errors", "signals", "open"]
"""How a field holds payload: it is a text, or one value; a list or the values of a map; a map of lists; texts or values
within objects of a list or a map."""

FIELDS: Mapping[str, Mapping[str, Shape]] = {
    "sagahook.webhook.routed.v1": {"reason": "text", "errors": "errors"},
    "sagahook.saga.started.v1": {"context": "value", "attributes": "value", "user_id": "text"},
    "sagahook.saga.failing.v1": {"error": "text"},
    "sagahook.saga.compensating.v1": {"error": "text"},
    "sagahook.saga.completed.v1": {"result": "value"},
    "sagahook.saga.rolled_back.v1": {"error": "text"},
    "sagahook.saga.failed.v1": {"error": "text"},
    "sagahook.saga.suspended.v1": {"reason": "text"},
    "sagahook.saga.signalled.v1": {"payload": "value"},
    "sagahook.saga.progressed.v1": {"message": "text"},
    "sagahook.step.completed.v1": {"result": "value"},
    "sagahook.step.failed.v1": {"error": "text"},
    "sagahook.step.child_requested.v1": {"context": "value"},
    "sagahook.step.expanded.v1": {"items": "values"},
    "sagahook.step.continued.v1": {"carry": "value"},
}
"""By the type of the record. What is not here holds none."""

SNAPSHOT: Mapping[str, Shape] = {
    "context": "value",
    "results": "values",
    "prepared": "values",
    "items": "lists",
    "signals": "signals",
    "open": "open",
    "user_id": "text",
    "error": "text",
    "reason": "text",
}
"""Of a live saga's record in `saga.state`."""

_WITHIN: Mapping[str, Mapping[str, Shape]] = {
    "errors": {"error": "text"},
    "signals": {"payload": "value"},
    "open": {"carry": "value", "error": "text"},
}

Seal = Callable[[JsonValue], str]
"""To the text that stands for it."""

Open = Callable[[str], Any]
"""From that text to what it stands for; GONE where its key is gone."""

GONE: Any = object()


def sealed(data: Mapping[str, Any], fields: Mapping[str, Shape], seal: Seal | None) -> dict[str, Any]:
    """The same with its payload sealed. seal None: the key is gone already, and so nothing of it is written, but that
    it was erased."""
    if data.get("cause") == "erased":
        fields = {name: shape for name, shape in fields.items() if name != "reason"}
    return {
        name: _sealed(value, fields[name], seal) if name in fields and value is not None else value
        for name, value in data.items()
    }


def opened(value: Any, open_: Open) -> Any:
    """The same with everything in it opened."""
    if isinstance(value, str):
        return _opened(value, ERASED_TEXT, open_) if TOKEN.fullmatch(value) else value
    if isinstance(value, dict):
        inside = value.get(MARK)
        if len(value) == 1 and isinstance(inside, str) and TOKEN.fullmatch(inside):
            return _opened(inside, ERASED, open_)
        return {name: opened(each, open_) for name, each in value.items()}
    if isinstance(value, list):
        return [opened(each, open_) for each in value]
    return value


def is_sealed(written: bytes) -> bool:
    """Whether there may be something to open in it."""
    return b"sealed:1:" in written


def _sealed(value: Any, shape: Shape, seal: Seal | None) -> Any:
    match shape:
        case "text":
            return ERASED_TEXT if seal is None else seal(value)
        case "value":
            return ERASED if seal is None else {MARK: seal(value)}
        case "values" | "lists":
            inner: Shape = "value" if shape == "values" else "values"
            return _each(value, lambda each: None if each is None else _sealed(each, inner, seal))
        case _:
            return _each(value, lambda each: sealed(each, _WITHIN[shape], seal))


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: change(each) for name, each in value.items()}
    return [change(each) for each in value]


def _opened(token: str, erased: JsonValue, open_: Open) -> Any:
    found = open_(token)
    return erased if found is GONE else found
