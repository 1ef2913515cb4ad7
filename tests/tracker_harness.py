"""The tracker on real parts: a log of its own in Kafka, a database of its own, its projector and its API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import uvicorn
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from fastapi import FastAPI
from pydantic import SecretStr

from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.migrations import migrate
from sagahook.runtime.service import bind
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.topics import SAGA_COMMANDS, Topic
from sagahook_tracker.adapters.schema import MIGRATIONS
from sagahook_tracker.projector import Projector
from sagahook_tracker.settings import TrackerSettings
from sagahook_tracker.wiring import build_app
from tests.databases import open_migrated_database
from tests.topics import open_prefix
from tests.tracker_log import LogWriter, open_writer

PARTITIONS = 2

KEEP_ALL = dict.fromkeys(
    ("keep_history", "keep_finished", "keep_rollups", "keep_deliveries", "keep_audit", "keep_history_rows"), 0
)
"""The tests' events are from long ago."""

TABLES = (
    "offsets",
    "webhooks",
    "routes",
    "asked",
    "standings",
    "runs",
    "attributes",
    "links",
    "history",
    "attempts",
    "rollups",
    "deliveries",
    "delivery_attempts",
    "audit",
    "definitions",
    "controls",
)


@dataclass
class Tracker:
    settings: TrackerSettings
    log: LogWriter
    reader: AIOKafkaConsumer
    pool: asyncpg.Pool

    def told_otherwise(self, **settings: Any) -> Tracker:
        """The same log, with other settings."""
        return replace(self, settings=TrackerSettings.model_validate(self.settings.model_dump() | settings))

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[Projector]:
        """Ready, until the end of the block."""
        projector = Projector(self.settings)
        stopping = asyncio.Event()
        running = asyncio.create_task(projector.run(stopping))
        try:
            async with asyncio.timeout(60):
                while not projector.health.ready and not running.done():
                    await asyncio.sleep(0.01)
            yield projector
        finally:
            stopping.set()
            await running

    @asynccontextmanager
    async def api(self, key: str = "") -> AsyncIterator[Api]:
        """key: of whoever asks."""
        app = build_app(self.settings)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with serving(app) as url, aiohttp.ClientSession(url, headers=headers) as http:
            yield Api(http, app.state.dismiss)

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Everything in the views."""
        async with self.pool.acquire() as connection:
            return {
                table: [
                    dict(row)
                    for row in await connection.fetch(
                        f"SELECT * FROM tracker.{table} AS row ORDER BY 1, 2, 3, row::text"  # noqa: S608  # our names
                    )
                ]
                for table in TABLES
            }

    async def until_rows(self, **counts: int) -> None:
        """Until each of the tables has so many rows."""
        async with asyncio.timeout(60):
            for table, count in counts.items():
                while await self.pool.fetchval(f"SELECT count(*) FROM tracker.{table}") != count:  # noqa: S608  # our own names
                    await asyncio.sleep(0.02)

    async def until_rows_of(self, table: str) -> None:
        """Until the table has any."""
        async with asyncio.timeout(60):
            while not await self.pool.fetch(f"SELECT FROM tracker.{table} LIMIT 1"):  # our own names
                await asyncio.sleep(0.05)

    async def until_caught_up(self, seconds: float = 60) -> None:
        """Until the views stand for everything that is written by now, committed transactions included."""
        until = time.monotonic() + seconds
        partitions = [TopicPartition(*pair) for pair in product(self.settings.topics, range(PARTITIONS))]
        await look_up(self.reader, partitions)
        ends = await self.reader.end_offsets(partitions)
        while behind := {key: end for key, end in ends.items() if end > (await self._offsets()).get(key, 0)}:
            assert time.monotonic() < until, f"not projected: {behind}, but {await self._offsets()}"
            await asyncio.sleep(0.02)

    async def projected(self) -> int:
        """Offsets that the views stand for, of all partitions together."""
        return sum((await self._offsets()).values())

    async def commands(self, topic: Topic = SAGA_COMMANDS) -> list[ConsumerRecord]:
        """Everything in `saga.commands`, or in another topic that operators write to."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, isolation_level="read_committed")
        found: list[ConsumerRecord] = []
        async with consumer:
            for partition in [
                TopicPartition(self.settings.topic(topic), number) for number in range(PARTITIONS)
            ]:
                consumer.assign([partition])
                consumer.seek(partition, 0)
                end = (await consumer.end_offsets([partition]))[partition]
                while await consumer.position(partition) < end:
                    found += (await consumer.getmany(timeout_ms=100)).get(partition, [])
        return found

    async def _offsets(self) -> dict[tuple[str, int], int]:
        rows = await self.pool.fetch("TABLE tracker.offsets")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


@dataclass
class Api:
    """dismiss: answers now whoever waits or watches, as a process does that is to end."""

    http: aiohttp.ClientSession
    dismiss: Callable[[], None] = lambda: None

    async def get(self, path: str, **options: Any) -> tuple[int, Any, dict[str, str]]:
        """status code, body, headers"""
        async with self.http.get(path, **options) as response:
            return response.status, await response.json(), dict(response.headers)

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any, dict[str, str]]:
        """status code, body, headers"""
        async with self.http.post(path, json=body, **options) as response:
            return response.status, await response.json(), dict(response.headers)

    async def status(self, correlation_id: str, source: str = "shop", wait: float = 0) -> Any:
        code, body, _ = await self.get(f"/webhooks/{source}/status/{correlation_id}?wait={wait}")
        assert code == 200, body
        return body


@asynccontextmanager
async def open_tracker(
    bootstrap: str, prefix: str, database_url: str, partitions: int = PARTITIONS, **settings: Any
) -> AsyncIterator[Tracker]:
    await ensure_topics(bootstrap, prefix, partitions)
    await migrate(database_url, "tracker", MIGRATIONS)
    given = tracker_settings(bootstrap, prefix, database_url, **settings)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    async with (
        # Views that a rebuild puts in the place of others are other tables by the same names.
        asyncpg.create_pool(database_url, min_size=0, max_size=2, statement_cache_size=0) as pool,
        open_writer(bootstrap, prefix, partitions) as log,
        reader,
    ):
        yield Tracker(given, log, reader, pool)


@asynccontextmanager
async def open_tracker_of_its_own(
    bootstrap: str, postgres_url: str, **settings: Any
) -> AsyncIterator[Tracker]:
    """With a database and topics that are its alone."""
    async with (
        open_migrated_database(postgres_url) as url,
        open_prefix(bootstrap) as prefix,
        open_tracker(bootstrap, prefix, url, **settings) as tracker,
    ):
        yield tracker


def tracker_settings(bootstrap: str, prefix: str, database_url: str, **further: Any) -> TrackerSettings:
    return TrackerSettings(
        kafka=bootstrap,
        topic_prefix=prefix,
        database_url=SecretStr(database_url),
        session_timeout=2.0,
        **{"api_rate_limit": "none", "open_rate_limit": "none", **KEEP_ALL, **further},
    )


@asynccontextmanager
async def serving(app: FastAPI, config: uvicorn.Config | None = None) -> AsyncIterator[str]:
    """The app behind a real socket. config: of the server, where the usual one will not do."""
    listening = bind("127.0.0.1", 0)
    usual = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config or usual)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not task.done():
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class Wire:
    """A TCP connection to a server that can be cut and mended: the server seems to be away."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._port = 0
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        credentials = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(_pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
