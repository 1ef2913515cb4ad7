"""CloudEvents 1.0 over HTTP: binary (`ce-*` headers) and structured (one JSON document) mode.

Source: the CloudEvents specification §3.1, its HTTP binding §3 and its JSON format §3. A batch is an array of
structured events (batch.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from orjson import dumps

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal
from sagahook_schemas.base import JsonValue
from sagahook_schemas.bodies import CLOUD_EVENT, CLOUD_EVENTS, data_of, media_type
from sagahook_schemas.envelope import parse_rfc3339

VERSION_HEADER = b"ce-specversion"
ATTRIBUTES_LIMIT = 8 * 1024
"""Bytes of what is kept of the attributes in headers, as JSON."""

_PREFIX = "application/cloudevents"
_LIMIT = 255
_REQUIRED = ("id", "source", "type")
_TEXTS = frozenset({"datacontenttype", "dataschema", "subject"})
_DATA = frozenset({"data", "data_base64"})
_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_JSON_DATA = re.compile(r"[^/]+/(json|[^/]+\+json)\Z")


class CloudEvent(NamedTuple):
    """delivery_id: the source and the id, which together identify an event; a source has no space in it.

    attributes: what came in headers, as JSON; "" where the body has all of it.
    """

    type: str
    delivery_id: str
    attributes: str = ""


def is_cloud_event(content_type: str, headers: Headers) -> bool:
    """Whether the request is to be read as one, by the HTTP binding §3."""
    return VERSION_HEADER in headers or content_type[: len(_PREFIX)].lower() == _PREFIX


def mode_of(content_type: str) -> str:
    """`binary`, or the media type of the format. Raises Refusal for a format that nobody reads here."""
    kind = media_type(content_type)
    if not kind.startswith(_PREFIX):
        return "binary"
    if kind not in (CLOUD_EVENT, CLOUD_EVENTS):
        raise Refusal(
            415, f"CloudEvents are read as JSON: send {CLOUD_EVENT}, {CLOUD_EVENTS} or the binary mode"
        )
    return kind


def from_headers(headers: Iterable[tuple[bytes, bytes]], content_type: str) -> CloudEvent:
    """The binary mode. headers: all of the request's. Raises Refusal."""
    if not _JSON_DATA.match(media_type(content_type)):
        raise Refusal(415, "The data of an event in binary mode must be JSON: send it as application/json")
    attributes: dict[str, Any] = {}
    for name, value in headers:
        if name.startswith(b"ce-"):
            attribute = name[3:].decode("latin-1")
            if not _NAME.match(attribute) or attribute in ("data", "datacontenttype"):
                raise Refusal(400, f"The header {name[:64].decode('latin-1')!r} is no CloudEvents attribute")
            attributes[attribute] = _decoded(attribute, value)
    told = _checked(attributes, "header ce-")
    kept = dumps(attributes).decode()
    if len(kept) > ATTRIBUTES_LIMIT:
        raise Refusal(400, f"The CloudEvents attributes take more than {ATTRIBUTES_LIMIT} bytes")
    return told._replace(attributes=kept)


def from_document(document: JsonValue) -> tuple[CloudEvent, JsonValue]:
    """The structured mode: what it is, and its data. Raises Refusal."""
    if not isinstance(document, dict):
        raise Refusal(400, "An event in structured mode is a JSON object")
    if "data" in document and "data_base64" in document:
        raise Refusal(400, "An event has data or data_base64, not both")
    if not isinstance(document.get("data_base64", ""), str):
        raise Refusal(400, "data_base64 must be a string")
    told = _checked(document, "attribute ")
    try:
        return told, data_of(document)
    except ValueError as unreadable:
        raise Refusal(415, f"The event's {unreadable}: only JSON is read here") from None


def _checked(attributes: Mapping[str, Any], said: str) -> CloudEvent:
    if attributes.get("specversion") != "1.0":
        raise Refusal(400, f"The {said}specversion must be '1.0': no other version of CloudEvents is read")
    for name in _REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= _LIMIT or not value.isprintable():
            raise Refusal(400, f"The {said}{name} must be 1 to {_LIMIT} printable characters")
    if " " in attributes["source"]:
        raise Refusal(400, f"The {said}source must be a URI reference, which has no spaces")
    for name, value in attributes.items():
        texts = str if name in _TEXTS else str | bool | int | float
        if name not in _DATA and value is not None and not isinstance(value, texts):
            raise Refusal(
                400,
                f"The {said}{name[:64]} must be a {'text' if name in _TEXTS else 'text, a number or a boolean'}",
            )
    time = attributes.get("time")
    if time is not None:
        try:
            parse_rfc3339(time)
        except (TypeError, ValueError):
            raise Refusal(
                400, f"The {said}time must be a time by RFC 3339, as 2026-01-05T12:00:00Z"
            ) from None
    return CloudEvent(attributes["type"], f"{attributes['source']} {attributes['id']}")


def _decoded(name: str, value: bytes) -> str:
    """As the HTTP binding §3.1.3.2 has it: quoted strings, which older senders use, then one round of percent-decoding.
    Raises Refusal."""
    try:
        text = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), value.decode("ascii"))
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refusal(
            400, f"The header ce-{name} must be ASCII, with all else percent-encoded as UTF-8"
        ) from None
