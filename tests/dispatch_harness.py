"""Drives dispatchers against a real database and real receivers, by a clock that the test owns."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from orjson import dumps

from sagahook.runtime.database import _read_json
from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_notifier.adapters.http_client import Timeouts
from sagahook_notifier.adapters.sender import open_sender
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.endpoints import EndpointConfig
from sagahook_notifier.domain.health import Breaker
from sagahook_notifier.domain.verdicts import Rules
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.dispatch import Dispatcher, Limits
from tests.notifier_harness import SECRET, SECRET_KEY, Receiver, open_receiver

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDDLE = 0.5  # the dice that leave a delay as it is
RULES = Rules(Breaker(failures=3, open_for=timedelta(seconds=30)), disable_after=timedelta(days=5))


@dataclass
class OwnClock:
    at: datetime = NOON

    def now(self) -> datetime:
        return self.at


@dataclass
class World:
    """An empty database, a receiver, and dispatchers that share the clock."""

    pool: asyncpg.Pool
    receiver: Receiver
    clock: OwnClock = field(default_factory=OwnClock)
    dispatchers: list[Dispatcher] = field(default_factory=list)
    _added: int = 0

    async def endpoints(self, *paths: str, **options: Any) -> None:
        """One for each path of the receiver, all with these options beside those that are there already."""
        await self._put([self.configured(path, **options) for path in paths])

    async def _put(self, endpoints: Sequence[EndpointConfig]) -> None:
        store = EndpointStore(self.pool, Vault([SECRET_KEY]))
        for (
            endpoint
        ) in endpoints:  # one after the other, because a configuration switches off all that it lacks
            await store.put_configured([endpoint], self.clock.now())
        await self.pool.execute("UPDATE notifier.endpoints SET enabled = TRUE")

    def configured(self, path: str, **options: Any) -> EndpointConfig:
        given = {
            "id": path,
            "url": f"{self.receiver.url}/{path}",
            "secret": SECRET,
            "retry_policy": [5.0] * 9,
        }
        return EndpointConfig(**given | options)

    async def add(self, endpoint: str, count: int = 1) -> list[str]:
        """Deliveries that are due, named by the order in which they were added."""
        ids = [f"d-{self._added + number:04}" for number in range(count)]
        self._added += count
        await self.pool.execute(
            """
            INSERT INTO notifier.deliveries (
                id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, status, attempts,
                claimable_at, created_at
            )
            SELECT id, $2, 'e-' || id, 'task_started', 's', 1, 'c', $3, 'pending', 0, $4, $4
            FROM unnest($1::text[]) AS id
            """,
            ids,
            endpoint,
            dumps({"type": "task_started"}),
            self.clock.now(),
        )
        self.wake(endpoint)
        return ids

    def wake(self, *endpoints: str) -> None:
        for dispatcher in self.dispatchers:
            dispatcher.wake(endpoints)

    def advance(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)
        self.wake()

    async def recorded(self, attempts: int) -> None:
        """Until so many attempts are in the database."""
        await self.until("SELECT count(*) >= $1 FROM notifier.attempts", attempts)

    async def until(self, query: str, *arguments: Any) -> None:
        async with asyncio.timeout(60):
            while not await self.pool.fetchval(query, *arguments):
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Until dispatchers had time for whatever is due: what they must not do is then not done."""
        await asyncio.sleep(0.15)

    def sent(self, path: str) -> list[str]:
        return [arrival.delivery_id for arrival in self.receiver.at(f"/{path}")]

    async def status(self, delivery: str) -> str:
        return str(await self.pool.fetchval("SELECT status FROM notifier.deliveries WHERE id = $1", delivery))


@asynccontextmanager
async def world(database_url: str, *, dispatchers: int = 1, rules: Rules = RULES) -> AsyncIterator[World]:
    async with (
        asyncpg.create_pool(database_url, min_size=0, max_size=8, init=_read_json) as pool,
        open_receiver() as receiver,
        AsyncExitStack() as running,
    ):
        made = World(pool, receiver)
        for _ in range(dispatchers):
            made.dispatchers.append(await running.enter_async_context(_running(made, rules)))
        yield made


@asynccontextmanager
async def _running(world: World, rules: Rules) -> AsyncIterator[Dispatcher]:
    async with open_sender(
        sources={},
        clock=world.clock,
        timeouts=Timeouts(connect=2, silence=5, total=5),
        reach=Reach(everything=True),
    ) as sender:
        dispatcher = Dispatcher(
            store=DispatchStore(world.pool, Targets(Vault([SECRET_KEY]))),
            sender=sender,
            clock=world.clock,
            dice=lambda: MIDDLE,
            limits=Limits(
                lease=timedelta(seconds=45),
                concurrency=64,
                per_endpoint=16,
                drain=timedelta(seconds=0.1),
                rules=rules,
            ),
            database=Dependency("PostgreSQL"),
            on_recorded=lambda: None,
        )
        stopping = asyncio.Event()
        task = asyncio.create_task(dispatcher.run(stopping))
        try:
            yield dispatcher
        finally:
            stopping.set()
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
