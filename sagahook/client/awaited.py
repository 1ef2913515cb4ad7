"""The client for asyncio, over aiohttp."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

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

_SILENCE = 45.0
_AWAY = (aiohttp.ClientError, OSError, TimeoutError)


class AsyncClient(EveryOperation):
    """As Client, with every method awaited, and every iterator by `async for`. Tasks of one loop may share one."""

    awaited = True

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, patience: float = 30.0
    ) -> None:
        self._address = Address.of(url)
        self._key = key
        self._timeout = timeout
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def run(self, call: Call[T], /) -> T:
        """Any call, also one that is no method here."""
        return (await self.ask(call)).value

    async def ask(self, call: Call[T], /) -> Answered[T]:
        steps = attempts(call, self._patience, time.monotonic, random.random)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                answered: Answered[T] = done.value
                return answered
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._exchange(step.call)

    async def exchange(self, call: Call[Any], /) -> Reply:
        """The answer as it came, whether good or not: asked once. Raises Unreachable."""
        outcome = await self._exchange(call)
        if isinstance(outcome, Reply):
            return outcome
        raise failure(outcome)

    async def wait_until_final(
        self, source: str, correlation_id: str, *, timeout: float = 60.0
    ) -> WebhookStatus:
        """What became of a webhook, once nothing more happens. Raises NotFinal after `timeout` seconds."""
        return await self._play(until_final(source, correlation_id, timeout, time.monotonic))

    async def wait_for_saga(self, saga_id: str, *, timeout: float = 60.0) -> SagaDetails:
        """The saga's newest run, once it has ended. Raises NotFinal after `timeout` seconds."""
        return await self._play(until_saga_final(saga_id, timeout, time.monotonic))

    async def stream(
        self,
        *,
        after: str | None = None,
        task_id: str | None = None,
        correlation_id: str | None = None,
        task_type: str | None = None,
    ) -> AsyncIterator[RecentEntry]:
        """What happens, as it happens: without end, over every connection that is lost, and none twice. after: a
        `stream_position` to begin at, else from now on. Raises what keeps it away for longer than the patience."""
        reader = EventReader(after, task_id=task_id, correlation_id=correlation_id, task_type=task_type)
        lost_at: float | None = None
        while True:
            call = reader.call()
            try:
                async with self._open(call) as response:
                    if response.status >= 300:
                        raise failure(Reply(response.status, response.headers, await response.read()))
                    async for chunk in response.content.iter_any():
                        lost_at = None
                        for entry in reader.feed(chunk):
                            yield entry
                pause = reader.retry
            except (SagahookError, *_AWAY) as raised:
                error = raised if isinstance(raised, SagahookError) else self._unreachable(raised)
                again = again_after(call, error, reader.retry)
                lost_at = lost_at or time.monotonic()
                if again is None or time.monotonic() + again > lost_at + self._patience:
                    raise error from raised
                pause = again
            await asyncio.sleep(pause * (1 + random.random() / 4))

    async def _play(self, script: Generator[Call[T], T, T]) -> T:
        call = next(script)
        while True:
            answer = await self.run(call)
            try:
                call = script.send(answer)
            except StopIteration as done:
                final: T = done.value
                return final

    async def _exchange(self, call: Call[Any]) -> Outcome:
        timeout = aiohttp.ClientTimeout(total=self._timeout + call.wait)
        try:
            async with self._request(call, timeout) as response:
                return Reply(response.status, response.headers, await response.read())
        except _AWAY as away:
            return self._unreachable(away)

    def _open(self, call: Call[Any]) -> Any:
        return self._request(call, aiohttp.ClientTimeout(total=None, sock_read=_SILENCE))

    def _request(self, call: Call[Any], timeout: aiohttp.ClientTimeout) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(skip_auto_headers=("Content-Type", "User-Agent"))
        return self._session.request(
            call.method,
            URL(self._address.url + call.target, encoded=True),
            data=call.json(),
            headers=headers_of(call, self._key),
            timeout=timeout,
            allow_redirects=False,  # the key is for this address, and for no other
        )

    def _unreachable(self, away: BaseException) -> Unreachable:
        sent = not isinstance(away, aiohttp.ClientConnectorError)
        return Unreachable(self._address.silent(away), sent=sent)
