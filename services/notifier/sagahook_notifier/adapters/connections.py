"""HTTP/1.1 over one connection, from the client's side: a request's bytes out, the beginning of its answer in.

The parser is llhttp, Node.js's. Nothing that a receiver sends is unpacked, followed or kept beyond a bound.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

KEPT_BYTES = 4 * 1024
"""Of an answer's body; the rest is thrown away."""
_HEAD_BYTES = 64 * 1024
"""Of an answer's head, with the interim answers (1xx) before it."""
_READ_BYTES = 128 * 1024
"""Of a whole answer, so that the connection can serve again after a talkative one; beyond that it is closed."""

_UVLOOP_ERROR = RuntimeError
"""What uvloop raises in place of some OSErrors."""


_CLOSED = "the receiver closed the connection without an answer"


class Broken(Exception):
    """There was no answer, and the text says why."""


@dataclass(slots=True)
class Answered:
    """status 0: none came yet. body: its beginning. first_byte: when the answer began, by the loop's clock."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    first_byte: float = 0.0

    def header(self, name: bytes) -> str | None:
        """The first of that name, which is in lower case; as Latin-1, because HTTP knows no other."""
        for key, value in self.headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return None


class Connection(asyncio.Protocol):
    """Serves one request at a time. on_lost: called once, when it is closed by whichever side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle
        self._readable = select.poll()
        self._ended: asyncio.Future[None] | None = None
        """Of the exchange under way."""
        self._answer = Answered()
        self._interim = False
        self._received = 0
        self._heard = 0.0
        self.idle_since = 0.0
        self.is_open = False

    async def exchange(self, request: bytes, *, deadline: float, silence: float) -> Answered:
        """The answer, or so much of it as came once its status was there. deadline: by the loop's clock. silence:
        seconds without a byte. Raises Broken, and TimeoutError when either is over before there is a status."""
        if self._transport is None or not self.is_open:
            raise Broken(_CLOSED)
        answer = self._answer = Answered()
        self._received, self._interim = 0, False
        self._ended = self._loop.create_future()
        self._heard = self._loop.time()
        over = min(deadline, self._heard + silence)
        self._timer = self._loop.call_at(over, self._look, deadline, silence)
        try:
            self._transport.write(request)
            await self._ended
        except _UVLOOP_ERROR as broken:
            raise Broken(f"the connection broke: {broken}") from None
        finally:
            self._timer.cancel()
            if self._ended.cancelled() or not self._ended.done():
                self.close()
            self._ended = None
        return answer

    @property
    def can_serve(self) -> bool:
        """Whether it may be used again. That the receiver has closed it, the loop may not have heard yet; asked at
        the last moment, that costs no attempt."""
        return self.is_open and not self._readable.poll(0)

    def close(self) -> None:
        """At once: what is still on its way is of no interest."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _look(self, deadline: float, silence: float) -> None:
        now = self._loop.time()
        over = min(deadline, self._heard + silence)
        if now < over:
            self._timer = self._loop.call_at(over, self._look, deadline, silence)
        else:
            self._end(TimeoutError(), reusable=False)

    def _end(self, failure: Exception | None, *, reusable: bool) -> None:
        """Once the status is there it counts, however the rest of the answer breaks off."""
        if not reusable:
            self.close()
        if self._ended is None or self._ended.done():
            return
        if failure is None or self._answer.status:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(failure)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._ended is None or self._ended.done():
            self.close()  # nobody asked
            return
        self._heard = self._loop.time()
        if not self._answer.first_byte:
            self._answer.first_byte = self._heard
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end(None, reusable=False)
        except HttpParserError as invalid:
            self._end(Broken(f"the answer is not valid HTTP: {invalid}"), reusable=False)
        if self._received > (_READ_BYTES if self._answer.status else _HEAD_BYTES):
            endless = f"the answer is not valid HTTP: its head has no end within {_HEAD_BYTES} bytes"
            self._end(Broken(endless), reusable=False)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, broken: Exception | None) -> None:
        self.is_open = False
        if isinstance(broken, ConnectionResetError):
            self._end(Broken("the receiver reset the connection"), reusable=False)
        elif self._answer.first_byte:
            self._end(Broken("the receiver closed the connection within its answer's head"), reusable=False)
        else:
            self._end(Broken(_CLOSED), reusable=False)
        self._on_lost(self)

    # HttpResponseParser

    def on_message_begin(self) -> None:
        if self._ended is None or self._ended.done():  # a second answer to one request
            self._answer = Answered()
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200 and status != 101
        if self._interim:
            self._answer.headers.clear()
        else:
            self._answer.status = status

    def on_body(self, data: bytes) -> None:
        body = self._answer.body
        if len(body) < KEPT_BYTES:
            body += data[: KEPT_BYTES - len(body)]

    def on_message_complete(self) -> None:
        if self._interim:
            return
        # A receiver that answers before it has the whole request may take its rest for the next one.
        whole = self._transport is not None and self._transport.get_write_buffer_size() == 0
        self._end(None, reusable=whole and self.is_open and self._parser.should_keep_alive())
