"""Drives the notifier against a real broker, database and HTTP receiver."""

import asyncio
import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from orjson import loads
from standardwebhooks import Webhook

from sagahook.runtime.clock import Clock
from sagahook.runtime.topics import ensure_topics
from sagahook_notifier.settings import NotifierSettings
from sagahook_notifier.wiring import Notifier
from sagahook_schemas import sagas, steps
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of, saga_event_id
from sagahook_schemas.topics import NOTIFICATIONS, SAGA_EVENTS, Topic
from tests.preforked import Preforked, start_service

PARTITIONS = 2
SECRET_KEY = "what secrets are encrypted by, here"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOURCES = {
    "orders": {"secret": "whsec_" + "c291cmNlIHNlY3JldCBvZiB0aGUgb3JkZXJzIQ==", "allow_notify_url": True}
}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Arrival:
    """One request that the receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> dict[str, Any]:
        return dict(loads(self.body))

    @property
    def type(self) -> str:
        return str(self.payload["type"])


@dataclass
class Receiver:
    """A real HTTP server. It answers 204, unless a path has other answers: each serves one request, and the last
    of them all that follow."""

    url: str = ""
    arrivals: list[Arrival] = field(default_factory=list)
    answers: dict[str, deque[int | Answer]] = field(default_factory=lambda: defaultdict(deque))
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def answer(self, path: str, *answers: int | Answer) -> None:
        self.answers[path] = deque(answers)

    def at(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path == path]

    async def wait_for(self, count: int, path: str = "/hook", seconds: float = 60) -> list[Arrival]:
        """The requests to a path, once there are so many."""
        try:
            async with self._arrived, asyncio.timeout(seconds):
                await self._arrived.wait_for(lambda: len(self.at(path)) >= count)
        except TimeoutError:
            got = [arrival.type for arrival in self.at(path)]
            raise AssertionError(f"{path} got {len(got)} of {count} requests in {seconds} s: {got}") from None
        return self.at(path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        arrival = Arrival(request.path, dict(request.headers), await request.read())
        async with self._arrived:
            self.arrivals.append(arrival)
            self._arrived.notify_all()
        answers = self.answers[request.path]
        answer = (answers.popleft() if len(answers) > 1 else answers[0]) if answers else 204
        return web.Response(status=answer) if isinstance(answer, int) else await answer(request)


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def verified(arrival: Arrival, secret: str = SECRET) -> dict[str, Any]:
    """The payload, after the official library verified its signature."""
    return dict(Webhook(secret).verify(arrival.body, arrival.headers))


@dataclass
class SagaLog:
    """Writes saga events as their owner does."""

    producer: AIOKafkaProducer
    topic: str
    sequences: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def write(self, saga_id: str, *events: Contract, run: int = 1, at: datetime | None = None) -> None:
        """at: when they happened and were written; None: now."""
        for event in events:
            time = at or datetime.now(UTC)
            self.sequences[saga_id, run] += 1
            sequence = self.sequences[saga_id, run]
            envelope = Envelope(
                id=saga_event_id(saga_id, run, sequence),
                source="/sagahook/saga-runner",
                type=event.ce_type,
                time=time,
                subject="order",
                correlation_id=getattr(event, "correlation_id", f"of-{saga_id}"),
                saga_id=saga_id,
                run=run,
                sequence=sequence,
            )
            await self.producer.send_and_wait(
                self.topic,
                key=saga_id.encode(),
                value=event.to_json(),
                headers=envelope.to_headers(),
                partition=partition_of(saga_id, PARTITIONS),
                timestamp_ms=int(time.timestamp() * 1000),
            )


def started(saga_id: str, notify_url: str | None = None) -> sagas.SagaStarted:
    return sagas.SagaStarted(
        name="order",
        version=1,
        definition_hash="h",
        source="orders",
        event_id=f"event-{saga_id}",
        correlation_id=f"of-{saga_id}",
        context={},
        total_steps=1,
        notify_url=notify_url,
    )


def joined(state: str, correlation_id: str, notify_url: str) -> sagas.SagaJoined:
    return sagas.SagaJoined(
        name="order",
        source="orders",
        event_id=f"event-{correlation_id}",
        correlation_id=correlation_id,
        state=state,
        notify_url=notify_url,
    )


def done(result: Any = None) -> steps.StepCompleted:
    return steps.StepCompleted(step="reserve", phase="action", attempt=1, result=result)


COMPLETED = sagas.SagaCompleted(name="order")


def notifier_environment(endpoints: Sequence[dict[str, Any]] = (), **settings: Any) -> dict[str, str]:
    """settings: by the names in NotifierSettings."""
    given = {
        "kafka": "127.0.0.1:1",
        "endpoints": json.dumps(list(endpoints)),
        "sources": json.dumps(SOURCES),
        "notify_allow_private": True,
        "secret_key": SECRET_KEY,
        **settings,
    }
    return {
        "DATABASE_URL" if name == "database_url" else f"SAGAHOOK_{name.upper()}": str(value)
        for name, value in given.items()
    }


def notifier_settings(endpoints: Sequence[dict[str, Any]] = (), **settings: Any) -> NotifierSettings:
    before = dict(os.environ)
    os.environ.update(notifier_environment(endpoints, **settings))
    try:
        return NotifierSettings()
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Deployment:
    """One notifier deployment's topics and database."""

    kafka: str
    prefix: str
    database_url: str
    log: SagaLog
    pool: asyncpg.Pool

    def environment(self, endpoints: Sequence[dict[str, Any]] = (), **settings: Any) -> dict[str, str]:
        """settings: by the names in NotifierSettings."""
        mine = {"kafka": self.kafka, "topic_prefix": self.prefix, "database_url": self.database_url}
        return notifier_environment(endpoints, **{**mine, **settings})

    def settings(self, endpoints: Sequence[dict[str, Any]] = (), **settings: Any) -> NotifierSettings:
        mine = {"kafka": self.kafka, "topic_prefix": self.prefix, "database_url": self.database_url}
        return notifier_settings(endpoints, **{**mine, **settings})

    @asynccontextmanager
    async def running(
        self, *endpoints: dict[str, Any], clock: Clock | None = None, **settings: Any
    ) -> AsyncIterator[Notifier]:
        """A notifier in this process, stopped in order at the end."""
        notifier = Notifier(self.settings(endpoints, **settings), clock)
        stopping = asyncio.Event()
        task = asyncio.create_task(notifier.run(stopping))
        try:
            yield notifier
        finally:
            stopping.set()
            async with asyncio.timeout(60):
                await task

    @asynccontextmanager
    async def process(
        self, folder: Path, *endpoints: dict[str, Any], **settings: Any
    ) -> AsyncIterator[Preforked]:
        """A notifier of its own, killed at the end."""
        environment = {**os.environ, **self.environment(endpoints, **settings)}
        log = folder / "notifier.log"
        process = await start_service("sagahook_notifier", "run", env=environment, log=log)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def deliveries(self) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT * FROM notifier.deliveries ORDER BY created_at, id"
        )
        return rows

    async def attempts(self, delivery_id: str) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT * FROM notifier.attempts WHERE delivery_id = $1 ORDER BY attempt", delivery_id
        )
        return rows

    async def wait_until(self, query: str, *arguments: Any, seconds: float = 60) -> None:
        """Until the query's one value is true."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.pool.fetchval(query, *arguments):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            rows = [
                dict(row)
                for row in await self.pool.fetch("SELECT id, status, attempts FROM notifier.deliveries")
            ]
            raise AssertionError(f"not in {seconds} s: {query}; deliveries: {rows}") from None

    async def wait_until_finished(self, deliveries: int) -> None:
        await self.wait_until(
            "SELECT count(*) = $1 AND bool_and(status <> 'pending') FROM notifier.deliveries", deliveries
        )

    async def caught_up(self) -> None:
        """Until the notifier has read the saga log to its end."""
        async with reader(self.kafka, SAGA_EVENTS.name(self.prefix)) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            await self.wait_until(
                "SELECT $3 = 0 OR EXISTS"
                " (SELECT FROM notifier.offsets WHERE (topic, partition, next_offset) = ($1, $2, $3))",
                partition.topic,
                partition.partition,
                end,
            )

    async def records(self, topic: Topic, count: int, seconds: float = 60) -> list[ConsumerRecord]:
        """What the topic holds, once there are so many records."""
        found: list[ConsumerRecord] = []
        async with reader(self.kafka, topic.name(self.prefix)) as consumer, asyncio.timeout(seconds):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    found += records
        return found

    async def announced(self, count: int) -> list[tuple[Envelope, Contract]]:
        return [decode(record.headers, record.value) for record in await self.records(NOTIFICATIONS, count)]


@asynccontextmanager
async def reader(kafka: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    async with AIOKafkaConsumer(bootstrap_servers=kafka, fetch_max_wait_ms=50) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        yield consumer


@asynccontextmanager
async def deploy(kafka: str, prefix: str, database_url: str) -> AsyncIterator[Deployment]:
    await ensure_topics(kafka, prefix, PARTITIONS)
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
        asyncpg.create_pool(database_url, min_size=0, max_size=4) as pool,
    ):
        yield Deployment(kafka, prefix, database_url, SagaLog(producer, SAGA_EVENTS.name(prefix)), pool)
