"""What the projector is measured against: the rows of a log, batch by batch, written by nothing but batched upserts.

First the projector's own code projects the log, and what it writes is kept, its columns ready. Of what the database
computes (how events stand, the rollups) the rows are kept as each batch left them. Then all of it is written to an
empty database: the same rows, columns, batches, indexes and durability, and nobody who reads, decodes or decides.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.batches import Batch, Batches
from sagahook.runtime.database import open_pool
from sagahook_tracker.adapters.combined import Combined, Parameters
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.handlers import project
from sagahook_tracker.settings import TrackerSettings
from sagahook_tracker.wiring import MAX_RECORDS

_COMPUTED = {"standings": ("event_id",), "rollups": ("minute", "kind", "source", "type", "outcome")}
_GENERATED = {"processed", "outcome"}

Upsert = tuple[str, Sequence[Any]]
"""SQL and its columns"""


class _Recording(Combined):
    """Keeps the upserts of each batch."""

    def __init__(self, queries: Any) -> None:
        super().__init__(queries)
        self.writes: list[list[Upsert]] = []

    def statement(self, writes: Sequence[tuple[str, Parameters]], last: tuple[str, Parameters]) -> list[Any]:
        for name, values in writes:
            columns = [values[each] for each in self._queries.driver_adapter.var_sorted[name]]
            self.writes[-1].append((getattr(self._queries, name).sql, columns))
        return super().statement(writes, last)


class _Recorded:
    """A connection that remembers what is computed through it."""

    def __init__(self, connection: Any, recording: _Recording, queries: Any) -> None:
        self._connection = connection
        self._recording = recording
        self._queries = queries
        self._held: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetchrow(self, sql: str, *parameters: Any) -> Any:
        if sql == self._queries.advance_offsets.sql:
            self._recording.writes.append([(sql, parameters)])
        return await self._connection.fetchrow(sql, *parameters)

    async def fetch(self, sql: str, *parameters: Any) -> Any:
        rows = await self._connection.fetch(sql, *parameters)
        if "tracker.standings" in sql:
            self._held = [row["event_id"] for row in rows]
        return rows

    async def execute(self, sql: str, *parameters: Any) -> Any:
        done = await self._connection.execute(sql, *parameters)
        if sql == self._queries.settle.sql:
            await self._keep("standings", "event_id = ANY ($1)", self._held)
            await self._keep("rollups", "minute = ANY ($1) OR minute = '-infinity'", list(set(parameters[1])))
        return done

    async def _keep(self, table: str, condition: str, value: Any) -> None:
        """The rows as they are now, for an upsert that replaces them."""
        rows = await self._connection.fetch(f"SELECT * FROM tracker.{table} WHERE {condition}", value)  # noqa: S608  # our own names
        if not rows:
            return
        types = {
            row["name"]: row["type"]
            for row in await self._connection.fetch(
                "SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute "
                "WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
                f"tracker.{table}",
            )
        }
        generated = _GENERATED if table == "standings" else set()
        names = [name for name in rows[0].keys() if name not in generated]  # noqa: SIM118  # an asyncpg.Record
        given = ", ".join(f"${at}::{types[name]}[]" for at, name in enumerate(names, start=1))
        key = _COMPUTED[table]
        replaced = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
        sql = (
            f"INSERT INTO tracker.{table} ({', '.join(names)}) SELECT * FROM unnest({given}) "  # noqa: S608  # our own names
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {replaced}"
        )
        self._recording.writes[-1].append((sql, [[row[name] for row in rows] for name in names]))


class _RecordingPool:
    def __init__(self, pool: asyncpg.Pool, recording: _Recording, queries: Any) -> None:
        self._pool = pool
        self._recording = recording
        self._queries = queries

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            yield _Recorded(connection, self._recording, self._queries)


class _Nothing:
    async def put(self, record: ConsumerRecord, reason: str) -> None:
        raise AssertionError(reason)


async def record(settings: TrackerSettings, ends: Mapping[TopicPartition, int]) -> list[list[Upsert]]:
    """Of each batch what projecting the log up to its ends writes, into the database of the settings."""
    queries = load_queries()
    recording = _Recording(queries)
    pool = await open_pool(settings)
    try:
        projection = Projection(_RecordingPool(pool, recording, queries), queries)
        projection._combined = recording
        async for batches in _batches(settings, ends):
            await project(batches, projection, _Nothing())
    finally:
        await pool.close()
    return recording.writes


async def _batches(settings: TrackerSettings, ends: Mapping[TopicPartition, int]) -> AsyncIterator[Batches]:
    """As the projector gets them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, isolation_level="read_committed")
    async with consumer:
        consumer.assign(list(ends))
        positions = dict.fromkeys(ends, 0)
        for partition in ends:
            consumer.seek(partition, 0)
        while any(positions[partition] < end for partition, end in ends.items()):
            polled = await consumer.getmany(timeout_ms=250, max_records=MAX_RECORDS)
            batches = {}
            for partition, first in positions.items():
                position = await consumer.position(partition)
                if position != first:
                    batches[partition] = Batch(first, position, tuple(polled.get(partition, ())))
                    positions[partition] = position
            if batches:
                yield batches


async def write(settings: TrackerSettings, writes: list[list[Upsert]]) -> float:
    """Seconds that the database of the settings, which has its partitions, takes for it."""
    pool = await open_pool(settings)
    gc.freeze()  # as the services do: what is ready to be written is none of the collector's business
    async with pool.acquire() as connection:
        began = time.perf_counter()
        for upserts in writes:
            async with connection.transaction():
                for sql, columns in upserts:
                    await connection.execute(sql, *columns)
        taken = time.perf_counter() - began
    await pool.close()
    return taken
