"""What senders are told: the good answers, and every refusal in the one documented shape (api.md §8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orjson import dumps

from sagahook.runtime.buckets import TooMany
from sagahook.runtime.http_errors import CORRELATION_HEADER, error_response
from sagahook_ingest.domain.refusals import Refusal, Replayed, Unavailable

if TYPE_CHECKING:
    from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SERVER_FAILED = "The server failed; its log says why, under this correlation id"

_CORRELATION_HEADER = CORRELATION_HEADER.lower().encode()
_JSON_HEADER = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")


@dataclass(slots=True)  # not frozen: that makes its making three times as long
class Answer:
    """correlation_id: "" where the answer is about several. headers: beside it and the body's."""

    status: int
    body: dict[str, Any] | None
    correlation_id: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    accepted: int = 0
    duplicates: int = 0


def written(answer: Answer, *, closing: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Its headers and its body. closing: the connection is of no further use."""
    body = b"" if answer.body is None else dumps(answer.body)
    headers = [(b"content-length", b"%d" % len(body)), *answer.headers]
    if body:
        headers.append(_JSON_HEADER)
    if answer.correlation_id:
        headers.append((_CORRELATION_HEADER, answer.correlation_id.encode()))
    if closing:
        headers.append(_CLOSE)
    return headers, body


async def send_answer(answer: Answer, send: Send, *, closing: bool) -> None:
    headers, body = written(answer, closing=closing)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class Refused:
    """An error as it is told. headers: what the answer says besides."""

    status: int
    error: str
    headers: dict[str, str]
    correlation_id: str


def refused(raised: Exception, correlation_id: str) -> Refused:
    """correlation_id: of this request. Anything but a refusal is a failure of the server's."""
    match raised:
        case Replayed(status=status, error=error, correlation_id=first):
            return Refused(status, error, {}, first)
        case Refusal(status=status, error=error, headers=given):
            headers = dict(given)
        case TooMany(error=error, headers=given):
            status, headers = 429, dict(given)
        case Unavailable(error=error, retry_after=seconds):
            status, headers = 503, {"Retry-After": str(seconds)}
        case _:
            status, error, headers = 500, SERVER_FAILED, {}
    return Refused(status, error, headers, correlation_id)


def response_of(told: Refused, path: str, accept: bytes, *, closing: bool) -> Response:
    return error_response(
        status_code=told.status,
        error=told.error,
        path=path,
        correlation_id=told.correlation_id,
        accept=accept.decode("latin-1"),
        headers=told.headers | ({"Connection": "close"} if closing else {}),
    )
