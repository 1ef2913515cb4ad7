"""How an answer is written: its head and its body in one packet, by one call of the system.

uvicorn writes them apart, and looks at each header with two regular expressions; that is a tenth of what a short
answer costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NO_BODY = (204, 304)
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_PLAIN = frozenset({b"content-type", b"x-correlation-id", b"retry-after"})
"""Names that need no closer look, which costs more than a look here."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    _head = b""
    """What was said to begin the answer, until there is something of its body (ASGI, "Response Start")."""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._head = self._written(message["status"], message.get("headers", ()))
            self.waiting_for_100_continue = False
        elif (
            kind == "http.response.body"
            and (self._head or self.response_started)
            and not self.response_complete
        ):
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"the application sent {kind!r} where it does not belong")

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """As a whole, of a request for which no application runs (http_whole). Raises RuntimeError as `send` does."""
        if self.disconnected:
            return
        self._head = self._written(status, headers)
        self.waiting_for_100_continue = False
        self._send_body(body, False)
        self.on_response = _nothing  # what knows the connection would keep it in memory

    def _written(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head. Raises RuntimeError where a header would be more than one."""
        parts = [STATUS_LINE[status]]
        lines = 1
        self.chunked_encoding = None
        for name, value in (*self.default_headers, *headers):
            framing = name if name in _FRAMING or name in _PLAIN else name.lower()
            if framing == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif framing == b"transfer-encoding":
                self.chunked_encoding = True
            elif framing == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        if self.chunked_encoding is None and status not in _NO_BODY and self.scope["method"] != "HEAD":
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
            lines += 1
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
            lines += 1
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise RuntimeError("a header of the answer holds a line break or a NUL")
        return head + b"\r\n"

    def _send_body(self, body: bytes, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        elif len(body) > self.expected_content_length or (
            not more and len(body) < self.expected_content_length
        ):
            raise RuntimeError("the answer's body is not as long as its Content-Length says")
        else:
            self.expected_content_length -= len(body)
        self.response_started = True
        head, self._head = self._head, b""
        if head or body:
            self.transport.write(head + body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


def _nothing() -> None:
    pass
