"""How a connection is watched, and how it ends: in order, with an answer that the other side can read.

uvicorn itself answers what its parser refuses at once, before what was asked earlier, and closes over unread bytes.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sagahook.runtime import http_refusals as refusals
from sagahook.runtime.http_guard import SWEEP_SECONDS, HttpGuard
from sagahook.runtime.http_refusals import Asked, Refused

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

WAITING, HEAD, BODY, PARTING = range(4)
"""For a request's first byte, for the rest of its head, for the rest of its body, for the other side to close."""

_PARTING_SECONDS = 2.0
"""How long the other side may take to read the last answer. What it still sends meanwhile is thrown away: to close
over unread bytes resets the connection, and the answer may be lost with it (RFC 9112 §9.6)."""

_SPARE_SECONDS = 1.0
"""What a connection above the bound may take for its head."""


class OrderlyHttp(HttpToolsProtocol):
    """One connection, but for what it makes of the bytes."""

    guard: ClassVar[HttpGuard]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = self.guard.settings
        self.phase = WAITING
        self.since = 0.0
        """When the phase began, by the guard's clock."""
        self.body_bytes = 0
        self.deaf = False
        """Nothing more is parsed."""
        self.spare = False
        """It is one above the bound, for probes only."""
        self._answering: RequestResponseCycle | None = None
        """The one that is being answered; `cycle` is the last that was begun."""
        self._is_half_closed = False
        self._unsent = 0
        self._stuck_since = 0.0
        self._last_words: bytes | None = None
        """To be said when the requests before were answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        guard = self.guard
        guard.watch(self.connections, self.loop)  # type: ignore[arg-type]  # all of them are of this class
        self.since = guard.now
        over = len(self.connections) - self.limits.http_connections
        if over > 0 and not guard.make_room():
            self.spare = True
            if over > 2 * guard.spare:
                transport.abort()
            elif over > guard.spare:
                self.refuse(refusals.no_room())

    def connection_lost(self, exc: Exception | None) -> None:
        self.deaf = True
        if self._answering is not None:
            # uvicorn tells only the last request's application, and fails to write what the first one answers.
            self._answering.disconnected = True
            self._answering.message_event.set()
            # What knows this connection would keep it in memory until the collector comes.
            self._answering.transport = self.cycle.transport = self.transport
            self._answering = None
        super().connection_lost(exc)

    def start(self, cycle: RequestResponseCycle, app: ASGI3Application | None = None) -> None:
        """Let the application answer, or another."""
        self._answering = cycle
        task = self.loop.create_task(cycle.run_asgi(app or self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's has a result, uvicorn's none
        """A client that closes its side is still answered what it has asked in full."""
        if self.phase == PARTING:
            return None
        self._is_half_closed = True
        if self.phase == BODY:
            if not self._is_waiting(self.cycle):
                return None
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._answering
        if last is None or last.response_complete:
            return None
        self.deaf, self.phase = True, WAITING
        if self._last_words is None:
            self.make_last(last)
        return True

    def shutdown(self) -> None:
        if self.phase == PARTING:
            self.transport.close()
        else:
            super().shutdown()

    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_waiting(self, cycle: RequestResponseCycle) -> bool:
        """Whether it is the last of those that wait for their turn."""
        return bool(self.pipeline) and self.pipeline[0][0] is cycle

    # What the guard asks

    def look(self, now: float) -> None:
        age = now - self.since - SWEEP_SECONDS  # the time it began may be that much too early
        limits = self.limits
        if self.phase == PARTING or self.transport.is_closing() or self.flow.write_paused:
            self._look_at_writing(now, age)
            return
        self._unsent = 0
        if self.flow.read_paused:
            self.since = now  # it is this side that it waits for
        elif self.phase == HEAD:
            if age > self._head_seconds():
                self.refuse(refusals.slow_head())
        elif self.phase == BODY:
            earned = 0.0 if self.cycle.response_complete else self.body_bytes / limits.http_body_rate
            if age > limits.http_body_seconds + earned:
                self.refuse(refusals.slow_body(self.body_bytes))
        elif not self.is_answering() and age > self._waiting_seconds():
            self.leave()

    def _look_at_writing(self, now: float, age: float) -> None:
        """Whoever reads what it asked for may take its time; whoever does not is let go."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._stuck_since = unsent, now
        if unsent:
            if now - self._stuck_since > self.limits.http_body_seconds:
                self.transport.abort()
        elif self.phase == PARTING and age > _PARTING_SECONDS:
            self.transport.abort()

    def _head_seconds(self) -> float:
        return _SPARE_SECONDS if self.spare else self.limits.http_header_seconds

    def _waiting_seconds(self) -> float:
        return self._head_seconds() if self.cycle is None else self.limits.http_idle_seconds

    def idle_since(self) -> float:
        idle = self.phase == WAITING and not self.is_answering() and not self.transport.is_closing()
        return self.since if idle else math.inf

    def leave(self) -> None:
        self.transport.close()

    # How it ends

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer, and without reading on while requests wait."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.start(self.pipeline.pop()[0])
        elif self._last_words is not None:
            self.part(self._last_words)
        else:
            if self.phase == WAITING:
                self.since = self.guard.now
            self.flow.resume_reading()

    def refuse(self, refused: Refused) -> None:
        """Say so when all earlier requests are answered, and end the connection."""
        self.deaf = True
        self.guard.refused(refused.reason)
        words = self._words(refused)
        cycle = self.cycle
        is_begun = self.phase == BODY
        self.phase = WAITING
        if is_begun and self._is_waiting(cycle):
            self.pipeline.popleft()
            self._last_words = words
        elif is_begun:
            said = cycle.response_started
            cycle.disconnected, cycle.waiting_for_100_continue = True, False
            cycle.message_event.set()
            self.part(b"" if said else words)
        elif self.is_answering():
            self._last_words = words
        else:
            self.part(words)

    def _words(self, refused: Refused) -> bytes:
        asked = Asked() if self.scope is None else Asked(self.url, self.scope["headers"])
        return refusals.last_answer(refused, asked, self.server_state.default_headers)

    def make_last(self, cycle: RequestResponseCycle) -> None:
        """Its answer, which has not ended yet, says and is the end."""
        cycle.keep_alive = False
        cycle.transport = _LastTransport(self)  # type: ignore[assignment]

    def part(self, words: bytes) -> None:
        """End the connection with these bytes, so that the other side can read them."""
        self.deaf = True
        if self.transport.is_closing():
            return
        self.phase, self.since = PARTING, self.guard.now
        if words:
            self.transport.write(words)
        if self.transport.can_write_eof() and not self._is_half_closed:
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()


class _LastTransport:
    """What a cycle of uvicorn's uses of a transport. Where it would close the connection, the connection ends."""

    def __init__(self, protocol: OrderlyHttp) -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self._part = protocol.part

    def close(self) -> None:
        self._part(b"")
