"""What a connection is told before it ends, in the one shape of every error (api.md §8)."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from sagahook.runtime.http_errors import CORRELATION_HEADER, CORRELATION_ID, error_response
from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

_RETRY_SECONDS = "5"
_LONGEST_PATH = 256
_TLS_HELLO = b"\x16\x03"
_HTTP_2 = b"PRI * HTTP/2.0"


class Refused(Exception):
    """The connection ends with this answer. reason: one of a few words, for the metric."""

    def __init__(self, status: int, reason: str, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.reason = reason
        self.error = error


class Asked(NamedTuple):
    """What is known of a request when it is refused: perhaps nothing."""

    target: bytes = b""
    headers: Iterable[tuple[bytes, bytes]] = ()


def no_room() -> Refused:
    return Refused(
        503, "connections", "Every connection that may be open is taken: send it again, a little later"
    )


def slow_head() -> Refused:
    return Refused(408, "slow head", "The request's head did not come in time: send it at once")


def slow_body(received: int) -> Refused:
    return Refused(408, "slow body", f"The body did not come in time: {received} bytes came; send it faster")


def mostly_framing() -> Refused:
    return Refused(400, "framing", "The chunks of the body are mostly not body: send larger ones")


def of_parser(error: httptools.HttpParserError, data: bytes) -> Refused:
    """What the parser refused, or one of its callbacks. data: what it was given."""
    cause = error.__context__
    if isinstance(cause, Refused):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(
        cause, httptools.HttpParserError | UnicodeError
    ):
        log.error("http.failed", exc_info=cause)
        return Refused(500, "failed", "The server failed while it read the request; its log says why")
    if data.startswith(_TLS_HELLO):
        return Refused(
            400, "tls", "This port speaks HTTP without TLS: send to http://, or to the proxy in front"
        )
    if data.startswith(_HTTP_2):
        return Refused(505, "version", "HTTP/2 is not spoken here: send HTTP/1.1")
    return Refused(400, "malformed", f"The request is no HTTP/1.1: {cause or error}")


def last_answer(refused: Refused, asked: Asked, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, after which the connection is closed."""
    accept, correlation_id = "", None
    for name, value in asked.headers:
        if name == b"accept":
            accept = value.decode("latin-1")
        elif name == CORRELATION_HEADER.lower().encode():
            given = value.decode("latin-1")
            correlation_id = given if CORRELATION_ID.match(given) else None
    path = urllib.parse.unquote(asked.target.partition(b"?")[0].decode("latin-1"))
    response = error_response(
        status_code=refused.status,
        error=refused.error,
        path=path[:_LONGEST_PATH],
        correlation_id=correlation_id,
        accept=accept,
        headers={"Retry-After": _RETRY_SECONDS} if refused.status == 503 else None,
    )
    lines = [*default_headers, *response.raw_headers, (b"connection", b"close")]
    head = b"".join(b"%s: %s\r\n" % line for line in lines)
    return b"%s%s\r\n%s" % (STATUS_LINE[refused.status], head, bytes(response.body))
