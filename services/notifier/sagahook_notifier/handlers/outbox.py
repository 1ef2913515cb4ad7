"""From the outbox to Kafka: at least once, in order. While Kafka is away it grows, and deliveries go on."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sagahook_notifier.adapters.announcer import Announcer
from sagahook_notifier.adapters.outbox_store import OutboxQueue, OutboxStore
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.metrics import PUBLISHED

_AT_ONCE = 50
"""Transactions whose messages are sent before the first of them is taken out of the outbox."""

_REST_SECONDS = 1.0
"""Between two looks for what other processes put there, or for a publisher that is gone."""

_GATHER_SECONDS = 0.01
"""After the first message, for those that follow."""


class Outbox:
    """Several processes may run one: a single one publishes at a time, which keeps the order."""

    def __init__(
        self, *, store: OutboxStore, announcer: Announcer, database: Dependency, kafka: Dependency
    ) -> None:
        self._store = store
        self._announcer = announcer
        self._database = database
        self._kafka = kafka
        self._look = asyncio.Event()

    def wake(self) -> None:
        """There is something to publish."""
        self._look.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set and it is cancelled, to end a wait."""
        while not stopping.is_set():
            await self._database.reach(lambda: self._publish_while_alone(stopping))
            await asyncio.sleep(_REST_SECONDS)

    async def _publish_while_alone(self, stopping: asyncio.Event) -> None:
        async with self._store.publishing() as queue:
            while queue is not None and not stopping.is_set():
                self._look.clear()
                if await self._publish(queue) < _AT_ONCE:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_REST_SECONDS):
                            await self._look.wait()
                        await asyncio.sleep(_GATHER_SECONDS)

    async def _publish(self, queue: OutboxQueue) -> int:
        """How many transactions there were."""
        packed = await queue.first(_AT_ONCE)
        if packed:
            count = await self._kafka.reach(lambda: self._announcer.publish(packed))
            await queue.remove(packed)
            PUBLISHED.inc(count)
        return len(packed)
