"""A connection to one broker that carries requests of one kind alone.

It begins as one of aiokafka's, which knows how one gets in (TLS, SASL); then the bytes come here. aiokafka's own way of
an answer, a stream, a task that reads it and a future, took as long as all the rest of a request (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    CorrelationIdError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from sagahook.runtime.kafka_frames import Kind, first_answer, framed

WRITING, LOOKING, GATHERING = 2, 3, 4
"""Groups of connections in aiokafka's table of them: neither its requests' own, nor those to coordinators."""

Answered = Callable[[bytes | KafkaError], None]
"""Told once what the broker answered, or why it did not."""


class Line(asyncio.Protocol):
    """kind: of what is asked. seconds: how long an answer may take before the connection is given up, and with it all
    that it carries."""

    def __init__(self, connection: AIOKafkaConnection, client_id: str, kind: Kind, seconds: float) -> None:
        """connection: one that nothing is under way on. Raises IncompatibleBrokerVersion."""
        kind.check(connection._versions)
        self._connection = connection
        self._kind = kind
        self._client_id = client_id.encode()
        self._seconds = seconds
        self._number = 0
        self._under_way: deque[tuple[int, Answered, asyncio.TimerHandle]] = deque()
        """In the order in which a broker answers what one connection asks."""
        self._unread = b""
        self.quiet = asyncio.Event()
        """While nothing is under way."""
        self.quiet.set()
        self._loop = asyncio.get_running_loop()
        self._theirs: asyncio.BaseProtocol = connection._protocol
        self._transport = cast("asyncio.WriteTransport", connection._writer.transport)
        connection._read_task.cancel()
        self._transport.set_protocol(self)

    def is_open(self) -> bool:
        return bool(self._connection.connected())

    def ask(self, request: bytes, answered: Answered) -> None:
        """request: its body."""
        self._number = (self._number + 1) & 0x7FFF_FFFF
        late = self._loop.call_later(self._seconds, self._give_up, RequestTimedOutError())
        self._under_way.append((self._number, answered, late))
        self.quiet.clear()
        self._connection._last_action = time.monotonic()  # or aiokafka takes it for idle, and closes it
        self._transport.write(framed(self._kind, self._number, self._client_id, request))

    def answer(self, request: bytes) -> asyncio.Future[bytes]:
        """For whoever waits in a task. It raises KafkaError where none came."""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self.ask(request, partial(_resolve, answer))
        return answer

    def data_received(self, data: bytes) -> None:
        self._unread = self._unread + data if self._unread else data
        while (frame := first_answer(self._unread)) is not None:
            number, answer, self._unread = frame
            if not self._under_way or self._under_way[0][0] != number:
                self._give_up(CorrelationIdError(f"the broker answered {number}, which was not asked next"))
                return
            _, answered, late = self._under_way.popleft()
            late.cancel()
            if not self._under_way:
                self.quiet.set()
            answered(answer)

    def eof_received(self) -> None:
        pass

    def connection_lost(self, reason: Exception | None) -> None:
        cast("asyncio.Protocol", self._theirs).connection_lost(reason)
        lost = KafkaConnectionError("the connection to the broker was lost")
        lost.__cause__ = reason
        self._connection.close(CloseReason.CONNECTION_BROKEN)
        self._fail(lost)

    def _give_up(self, why: KafkaError) -> None:
        self._connection.close(CloseReason.CONNECTION_TIMEOUT)
        self._fail(why)

    def _fail(self, why: KafkaError) -> None:
        under_way, self._under_way = self._under_way, deque()
        self.quiet.set()
        for _, answered, late in under_way:
            late.cancel()
            self._loop.call_soon(partial(answered, why))


def _resolve(answer: asyncio.Future[bytes], outcome: bytes | KafkaError) -> None:
    if answer.done():
        return  # nobody waits any more
    if isinstance(outcome, bytes):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)


class Lines:
    """To the brokers that one client knows, of one kind alone; they are closed with it. kind, seconds: see `Line`.
    group: whose connections they are."""

    def __init__(self, client: AIOKafkaClient, kind: Kind, seconds: float, group: int = WRITING) -> None:
        self._client = client
        self._kind = kind
        self._seconds = seconds
        self._group = group
        self._lines: dict[int, Line] = {}

    def open_to(self, broker: int) -> Line | None:
        line = self._lines.get(broker)
        return line if line is not None and line.is_open() else None

    async def to(self, broker: int) -> Line:
        """Raises KafkaError."""
        if line := self.open_to(broker):
            return line
        connection = await self._client._get_conn(broker, group=self._group)
        if connection is None or not connection.connected():  # it may be closed again already
            raise NodeNotReadyError
        line = self.open_to(broker)  # another task may have come first
        if line is None:
            line = self._lines[broker] = Line(connection, self._client._client_id, self._kind, self._seconds)
        return line

    async def quiet(self) -> None:
        """Until nothing is under way."""
        for line in tuple(self._lines.values()):
            await line.quiet.wait()
