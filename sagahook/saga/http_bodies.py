"""What an exchange asked and what came back: read within bounds, and told without what is secret."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import orjson
from yarl import URL

from sagahook.saga.breaker import Breaker
from sagahook.saga.http_answers import (
    Expect,
    HttpAnswer,
    HttpUnexpected,
    HttpUnknownOutcome,
    failure,
    parse_retry_after,
)
from sagahook_schemas.base import JsonValue

RESULT_LIMIT = 256 * 1024
"""Bytes of an answer's body, as of every result."""

_REFUSAL_BYTES = 4_096
_REFUSAL_SECONDS = 1.0
"""How much of a refusal's body is read, and waited for, to say what the host says about it."""
_SAID_CHARACTERS = 200
_REMOVED = "[removed]"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready to be sent. seconds: for all of it. shown: how errors call it, without anything secret.
    secrets: what must not be shown even where the host repeats it. wants_result: whether somebody reads the body.
    limit: bytes of it."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None
    expect: Expect
    seconds: float
    breaker: Breaker | None
    shown: str
    secrets: tuple[str, ...]
    wants_result: bool
    limit: int = RESULT_LIMIT


async def read_answer(call: Call, response: aiohttp.ClientResponse) -> tuple[HttpAnswer, JsonValue]:
    """The whole answer, and what the step's result is of it."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HttpUnexpected(
            f"{call.shown} answered {response.status} with a body packed as {encoding[:20]!r}, although none was asked "
            "for: it cannot be read"
        )
    body = await _read(response, call.limit)
    if body is None:
        raise HttpUnexpected(
            f"result_too_large: {call.shown} answered {response.status} with more than {call.limit} bytes: it was "
            "carried out, but its result cannot be kept; ask the host for less"
        )
    text = _decoded(response, body)
    if not _is_json(response.content_type):
        return HttpAnswer(response.status, headers, None, text), text or None
    if not body.strip():
        return HttpAnswer(response.status, headers), None
    try:
        value: JsonValue = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        if not 200 <= response.status < 300:
            return HttpAnswer(response.status, headers, None, text), text
        raise HttpUnknownOutcome(
            f"{call.shown} answered {response.status} with a body that is not the JSON it says it is: it was carried "
            "out, and is asked again under the same key"
        ) from None
    return HttpAnswer(response.status, headers, value, text), value


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body; None where it is longer than the limit, of which no more is read."""
    if response.content_length is not None and response.content_length > limit and response.method != "HEAD":
        return None
    body = bytearray()
    while chunk := await response.content.read(limit + 1 - len(body)):
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


def _decoded(response: aiohttp.ClientResponse, body: bytes) -> str:
    try:
        return body.decode(response.charset or "utf-8", errors="replace")
    except LookupError:
        return body.decode(errors="replace")


async def failure_of(
    call: Call, response: aiohttp.ClientResponse, answer: HttpAnswer | None = None
) -> Exception:
    """However the rest of a refusal breaks off, its status counts."""
    said = answer.json if answer is not None else await _refusal(response)
    retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    return failure(response.status, call.shown, _presentable(_told(said), call.secrets), retry_after)


async def _refusal(response: aiohttp.ClientResponse) -> JsonValue:
    if not _is_json(response.content_type):
        return None
    try:
        async with asyncio.timeout(_REFUSAL_SECONDS):
            body = await _read(response, _REFUSAL_BYTES)
            return orjson.loads(body) if body else None
    except (aiohttp.ClientError, OSError, RuntimeError, ValueError):
        return None


def _told(said: JsonValue) -> str:
    """What a refusal says in words, by RFC 9457's names and the usual ones. The rest of it may be what we sent."""
    if not isinstance(said, dict):
        return ""
    words = [said.get(name) for name in ("title", "detail", "error", "message", "code")]
    return "; ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word))


def _presentable(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REMOVED)
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:_SAID_CHARACTERS]
