"""Serves ingest over real HTTP, and reads what it wrote to Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from orjson import loads

from sagahook.runtime.service import bind, http_config
from sagahook.runtime.sources import Source
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest
from sagahook_schemas.definitions import SagaDefinition, TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_DEFINITIONS, WEBHOOKS_RECEIVED

PARTITIONS = 4


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


class ServedIngest:
    """One replica, in this process, and a client of it. stopping: set, it is told to stop."""

    def __init__(self, port: int, session: aiohttp.ClientSession, stopping: asyncio.Event) -> None:
        self.port = port
        self.stopping = stopping
        self.base_url = f"http://127.0.0.1:{port}"
        self._session = session

    async def post(
        self, path: str, body: bytes = b'{"order_id": "o-1"}', headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self.ask("POST", path, body, headers)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        url = self.base_url + path
        async with self._session.request(method, url, data=body or None, headers=headers) as response:
            text = await response.read()
            return Answer(response.status, response.headers, loads(text) if text else None)

    async def get(self, path: str) -> Answer:
        async with self._session.get(self.base_url + path) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, await response.json() if is_json else text)

    async def until_ready(self, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while (await self.get("/readyz")).status != 200:
                await asyncio.sleep(0.02)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def serving(settings: IngestSettings, *, ready: bool = True) -> AsyncIterator[ServedIngest]:
    """One replica over HTTP, served as in production; with `ready` False it may still be waiting for Kafka. After the
    block it stops as it does when it is told to."""
    ingest = Ingest(settings)
    listening = bind("127.0.0.1", 0)
    config = http_config(settings, ingest.app)
    config.timeout_graceful_shutdown = 2
    server = _Server(config)
    stopping = asyncio.Event()
    running = asyncio.create_task(server.serve(sockets=[listening]))
    working = asyncio.create_task(ingest.run(stopping))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
            served = ServedIngest(listening.getsockname()[1], session, stopping)
            if ready:
                await served.until_ready()
            yield served
    finally:
        stopping.set()
        await working
        server.should_exit = True
        await running


def settings_for(bootstrap: str, prefix: str, **changed: Any) -> IngestSettings:
    """The source `orders` needs no field; `shop` may name notify URLs. Neither is held to a rate."""
    values: dict[str, Any] = {
        "kafka": bootstrap,
        "topic_prefix": prefix,
        "sources": {"orders": Source(), "shop": Source(allow_notify_url=True)},
        "unsigned_rate_limit": "none",
    }
    return IngestSettings(**(values | changed))


@dataclass(frozen=True)
class Log:
    """What is in `webhooks.received` of one deployment."""

    bootstrap: str
    prefix: str

    @property
    def topic(self) -> str:
        return WEBHOOKS_RECEIVED.name(self.prefix)

    async def read(self) -> list[ConsumerRecord]:
        """Every record, by partition and offset."""
        async with self._consumer() as (consumer, partitions):
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for polled in (await consumer.getmany(timeout_ms=200)).values():
                    records += polled
            return sorted(records, key=lambda record: (record.partition, record.offset))

    async def size(self) -> int:
        async with self._consumer() as (consumer, partitions):
            return sum((await consumer.end_offsets(partitions)).values())

    async def find(self, event_id: str) -> ConsumerRecord:
        return next(record for record in await self.read() if record.key == event_id.encode())

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=2**25
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            yield consumer, partitions
        finally:
            await consumer.stop()


async def deploy(bootstrap: str, prefix: str, *triggers: TriggerDefinition, name: str = "order") -> None:
    """As saga-runner does at its start."""
    definition = SagaDefinition(name=name, version=1, triggers=triggers, steps=())
    await write_definition(bootstrap, prefix, definition.key, definition)


async def write_definition(bootstrap: str, prefix: str, key: str, definition: SagaDefinition | None) -> None:
    """A definition, or a tombstone."""
    headers = (
        Envelope(
            id=key, source="/test", type=SagaDefinition.ce_type, time=datetime.now(UTC), subject=key
        ).to_headers()
        if definition
        else []
    )
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(
            SAGA_DEFINITIONS.name(prefix),
            key=key.encode(),
            value=definition.to_json() if definition else None,
            headers=headers,
            partition=partition_of(key, PARTITIONS),
        )
