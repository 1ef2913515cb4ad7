"""A webhook's body: strict JSON, or a form where the sender uses them, and what it says of itself."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from orjson import JSONDecodeError, dumps, loads

from sagahook_ingest.domain.refusals import Refusal
from sagahook_schemas.base import JsonValue

DEPTH_LIMIT = 100
"""Lists and objects within each other. Every reader further on must be able to follow."""

FORM = "application/x-www-form-urlencoded"
FIELDS_LIMIT = 200
"""Fields of a form; the largest that a known sender has is Slack's slash command with about 15."""

EVENT_TYPE_FIELDS = ("event_type", "event", "type")
_EVENT_TYPE_LIMIT = 255

_CONTAINERS = (dict, list)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
_NAME_END = b'":'
_ESCAPED = b"\\u00"
_NAME_END_ESCAPED = (b"\\u0022", b"\\u003a", b"\\u003A")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_IN_A_FORM = re.compile(rb"[^\x21-\x7e]")


def read(body: bytes, content_type: str, *, forms: bool = False) -> JsonValue:
    """The body as a JSON value. forms: the source's sender uses them, so a body that is declared as one is one.

    Everybody else's is JSON whatever it is declared as: `curl -d` calls everything a form. Raises Refusal.
    """
    if forms and content_type.partition(";")[0].strip().lower() == FORM:
        return parse_form(body)
    return parse(body)


def parse(body: bytes) -> JsonValue:
    """Raises Refusal. NaN, Infinity, numbers beyond a double, bad UTF-8, lone surrogates and control
    characters within strings are no JSON to orjson, as they are none to RFC 8259; names that are there twice in one
    object are none to RFC 7493 (I-JSON), because readers do not agree on which of them counts."""
    if not body:
        raise Refusal(400, "The body is empty: a webhook is a JSON document")
    if body.startswith(_BYTE_ORDER_MARK):
        raise Refusal(
            400, "The body begins with a byte order mark: leave it out, JSON has none (RFC 8259 §8.1)"
        )
    try:
        parsed: JsonValue = loads(body)
    except JSONDecodeError as invalid:
        raise Refusal(400, f"The body is not valid JSON: {invalid}") from None
    # Counting brackets costs next to nothing and clears almost every body of being too deep.
    if body.count(b"{") + body.count(b"[") > DEPTH_LIMIT and _depth_exceeds(parsed, DEPTH_LIMIT):
        raise Refusal(400, f"The body is nested more than {DEPTH_LIMIT} levels deep")
    if _may_repeat_names(body, parsed):
        _refuse_repeated_names(body)
    return parsed


def parse_form(body: bytes) -> JsonValue:
    """`application/x-www-form-urlencoded` (WHATWG URL §5.1), strictly. The fields as an object of texts; where
    `payload` is the only field, the JSON document in it (Slack's interactions, GitHub's forms). Raises Refusal."""
    if not body:
        raise Refusal(400, "The body is empty: a form has at least one field")
    if _NOT_IN_A_FORM.search(body) or _BAD_ESCAPE.search(body):
        raise Refusal(400, "The body is no form: send spaces and all but ASCII as %XX")
    pairs = body.split(b"&")
    if len(pairs) > FIELDS_LIMIT:
        raise Refusal(400, f"The form has more than {FIELDS_LIMIT} fields")
    fields: dict[str, JsonValue] = {}
    for pair in pairs:
        name, _, value = (_decoded(part) for part in pair.partition(b"="))
        if not name or name in fields:
            raise Refusal(400, f"The form has a field without a name, or {name[:40]!r} twice: name each once")
        fields[name] = value
    payload = fields.get("payload")
    return parse(payload.encode()) if isinstance(payload, str) and len(fields) == 1 else fields


def event_type(body: JsonValue) -> str:
    """The first of EVENT_TYPE_FIELDS that holds a usable name; "" where none does."""
    if isinstance(body, dict):
        for field in EVENT_TYPE_FIELDS:
            named = body.get(field)
            if isinstance(named, str) and 0 < len(named) <= _EVENT_TYPE_LIMIT and named.isprintable():
                return named
    return ""


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "A field of the form is not UTF-8") from None


def _depth_exceeds(parsed: JsonValue, limit: int) -> bool:
    level: list[Any] = [parsed] if type(parsed) in _CONTAINERS else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in _CONTAINERS
        ]
    return bool(level)


def _may_repeat_names(body: bytes, parsed: JsonValue) -> bool:
    """False: certainly not, and it cost a fraction of what looking at each name does.

    Of a repeated name the parser keeps the last: a body that comes out as it went in has none, and that of many a
    sender does. Else the text names more than the tree has. Without white space every name in the text ends in `":`,
    and so it does when the tree is written anew. Texts within the JSON may hold more of those, but the same in both, as
    long as none is spelled by escapes; else it is looked at more closely.
    """
    written = dumps(parsed)
    if written == body:
        return False
    if _ESCAPED in body and any(escape in body for escape in _NAME_END_ESCAPED):
        return True
    return written.count(_NAME_END) != body.translate(None, _WHITESPACE).count(_NAME_END)


def _refuse_repeated_names(body: bytes) -> None:
    """Raises Refusal. For a body that was parsed, and is not too deep."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise Refusal(
                    400, f"The body names {name[:40]!r} twice in one object: readers would not agree on it"
                )
            names.add(name)

    # The numbers are not needed, and Python refuses to make integers of many digits.
    json.loads(body, object_pairs_hook=unique, parse_int=str, parse_float=str)
