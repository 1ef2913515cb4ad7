"""The client for code that waits.

Over the standard library's http.client: what it lacks (pools, retries) both clients have here anyway, and so neither
a second HTTP library nor a thread with an event loop of its own is needed, which forks, debuggers and other loops
would notice (ADR 0016).
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Generator, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from sagahook.client.address import Address
from sagahook.client.calls import Call
from sagahook.client.core import (
    Answered,
    Outcome,
    Pause,
    Reply,
    again_after,
    attempts,
    failure,
    headers_of,
    until_final,
    until_saga_final,
)
from sagahook.client.errors import SagahookError, Unreachable
from sagahook.client.listing import EveryOperation
from sagahook.client.models import RecentEntry, SagaDetails, WebhookStatus
from sagahook.client.streaming import EventReader

T = TypeVar("T")

_IDLE_SECONDS = 15.0
"""For which a connection is kept; a server that closes it at the same moment would cost a call."""
_MOST_KEPT = 10
_SILENCE = 45.0


class Client(EveryOperation):
    """url: where the API is served. timeout: seconds for an answer, beyond what a call waits on purpose. patience:
    seconds for which a call is made again where that may help. Threads may share one. Every method raises
    SagahookError."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, patience: float = 30.0
    ) -> None:
        self._address = Address.of(url)
        self._key = key
        self._timeout = timeout
        self._patience = patience
        self._kept: list[tuple[float, HTTPConnection]] = []
        self._lock = Lock()
        self._tls = ssl.create_default_context() if self._address.tls else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for _, connection in kept:
            connection.close()

    def run(self, call: Call[T], /) -> T:
        """Any call, also one that is no method here."""
        return self.ask(call).value

    def ask(self, call: Call[T], /) -> Answered[T]:
        steps = attempts(call, self._patience, time.monotonic, random.random)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                answered: Answered[T] = done.value
                return answered
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._exchange(step.call)

    def wait_until_final(self, source: str, correlation_id: str, *, timeout: float = 60.0) -> WebhookStatus:
        """What became of a webhook, once nothing more happens. Raises NotFinal after `timeout` seconds."""
        return self._play(until_final(source, correlation_id, timeout, time.monotonic))

    def wait_for_saga(self, saga_id: str, *, timeout: float = 60.0) -> SagaDetails:
        """The saga's newest run, once it has ended. Raises NotFinal after `timeout` seconds."""
        return self._play(until_saga_final(saga_id, timeout, time.monotonic))

    def stream(
        self,
        *,
        after: str | None = None,
        task_id: str | None = None,
        correlation_id: str | None = None,
        task_type: str | None = None,
    ) -> Iterator[RecentEntry]:
        """What happens, as it happens: without end, over every connection that is lost, and none twice. after: a
        `stream_position` to begin at, else from now on. Raises what keeps it away for longer than the patience."""
        reader = EventReader(after, task_id=task_id, correlation_id=correlation_id, task_type=task_type)
        lost_at: float | None = None
        while True:
            call = reader.call()
            try:
                with self._open(call) as response:
                    while chunk := response.read1(65_536):
                        lost_at = None
                        yield from reader.feed(chunk)
                pause = reader.retry
            except SagahookError as error:
                again = again_after(call, error, reader.retry)
                lost_at = lost_at or time.monotonic()
                if again is None or time.monotonic() + again > lost_at + self._patience:
                    raise
                pause = again
            except (OSError, HTTPException):
                pause = reader.retry
            time.sleep(pause * (1 + random.random() / 4))

    def _play(self, script: Generator[Call[T], T, T]) -> T:
        call = next(script)
        while True:
            answer = self.run(call)
            try:
                call = script.send(answer)
            except StopIteration as done:
                final: T = done.value
                return final

    def _exchange(self, call: Call[Any]) -> Outcome:
        connection = self._connection(call)
        sent = False
        try:
            self._connect(connection, self._timeout + call.wait)
            sent = True
            response = self._request(connection, call)
            reply = Reply(response.status, response.headers, response.read())
        except (OSError, HTTPException) as away:
            connection.close()
            return Unreachable(self._address.silent(away), sent=sent)
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return reply

    def _open(self, call: Call[Any]) -> HTTPResponse:
        """Raises SagahookError."""
        connection = self._new_connection()
        try:
            self._connect(connection, _SILENCE)
            response = self._request(connection, call)
        except (OSError, HTTPException) as away:
            connection.close()
            raise Unreachable(self._address.silent(away), sent=False) from away
        if response.status >= 300:
            with response:
                raise failure(Reply(response.status, response.headers, response.read()))
        return response

    def _request(self, connection: HTTPConnection, call: Call[Any]) -> HTTPResponse:
        connection.request(
            call.method,
            self._address.prefix + call.target,
            call.json(),
            headers_of(call, self._key),
        )
        return connection.getresponse()

    def _connect(self, connection: HTTPConnection, timeout: float) -> None:
        connection.timeout = timeout
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout)

    def _connection(self, call: Call[Any]) -> HTTPConnection:
        """A call that must not be made twice has a new one: of an old one nobody knows whether it is still there."""
        with self._lock:
            while self._kept and call.repeatable:
                since, connection = self._kept.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        return self._new_connection()

    def _new_connection(self) -> HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._tls is None:
            return HTTPConnection(host, port)
        return HTTPSConnection(host, port, context=self._tls)

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if len(self._kept) < _MOST_KEPT:
                self._kept.append((time.monotonic(), connection))
                return
        connection.close()
