"""What the projector is measured against: the rows of a log, batch by batch, written by nothing but batched upserts.

First the projector's own code projects the log, and of each batch the rows are kept as it left them. Then they are
written to an empty database: the same rows, columns, batches, indexes and durability, and nobody who reads, decodes or
decides.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.batches import Batch, Batches
from sagahook.runtime.database import open_pool
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import SCHEMA, load_queries
from sagahook_tracker.adapters.storing import Storing
from sagahook_tracker.handlers import project
from sagahook_tracker.projector import MAX_RECORDS
from sagahook_tracker.settings import TrackerSettings

_WRITTEN = {
    "offset_rows": ("offsets", "topic text, partition int"),
    "webhook_rows": ("webhooks", "event_id text"),
    "route_rows": ("routes", "event_id text, number bigint"),
    "asked_rows": ("asked", "saga_id text, event_id text"),
    "link_rows": ("links", "event_id text, saga_id text, run bigint"),
    "run_rows": ("runs", "saga_id text, run bigint"),
    "attempt_rows": ("attempts", "saga_id text, run bigint, step text, phase text, attempt bigint"),
    "history_rows": ("history", "number bigint, at timestamptz"),
}
"""By the parameter: the table, and the key by which its rows are found."""

_STANDINGS = """
    SELECT * FROM tracker.standings
    WHERE event_id = ANY ($1::text[]) OR event_id IN (
        SELECT event_id FROM tracker.links JOIN json_to_recordset($2) AS moved (saga_id text, run bigint)
        USING (saga_id, run)
    )
"""
_ROLLUPS = """
    SELECT * FROM tracker.rollups
    WHERE minute = '-infinity'
       OR minute IN (SELECT minute FROM json_to_recordset($1) AS given (minute timestamptz))
"""

_COLUMNS = """
    SELECT attname AS name, format_type(atttypid, NULL) AS type
    FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""

Upsert = tuple[str, Sequence[Any]]
"""SQL and its columns"""


class _Recording(Storing):
    """Keeps what each batch leaves, as upserts."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.writes: list[list[Upsert]] = []

    async def call(self, connection: asyncpg.Connection, parameters: Mapping[str, Any]) -> asyncpg.Record:
        kept = await super().call(connection, parameters)
        self.writes.append([])
        for name, (table, key) in _WRITTEN.items():
            if parameters[name] is not None:
                columns = ", ".join(part.split()[0] for part in key.split(", "))
                found = await connection.fetch(
                    f"SELECT given.* FROM tracker.{table} AS given "  # noqa: S608  # our own names
                    f"JOIN json_to_recordset($1) AS keys ({key}) USING ({columns})",
                    parameters[name],
                )
                await self._keep(connection, table, columns if table != "history" else "", found)
        standings = await connection.fetch(_STANDINGS, parameters["touched"], parameters["moved_keys"])
        await self._keep(connection, "standings", "event_id", standings)
        rollups = await connection.fetch(_ROLLUPS, parameters["rollup_rows"])
        await self._keep(connection, "rollups", "minute, kind, source, type, outcome", rollups)
        return kept

    async def _keep(
        self, connection: asyncpg.Connection, table: str, key: str, rows: list[asyncpg.Record]
    ) -> None:
        """An upsert that replaces the rows; without a key: that adds them."""
        if not rows:
            return
        types = {row["name"]: row["type"] for row in await connection.fetch(_COLUMNS, f"tracker.{table}")}
        given = ", ".join(f"${at}::{type_}[]" for at, type_ in enumerate(types.values(), start=1))
        sql = f"INSERT INTO tracker.{table} ({', '.join(types)}) SELECT * FROM unnest({given})"  # noqa: S608  # our own names
        others = [name for name in types if name not in key.split(", ")]
        if key and others:
            replaced = ", ".join(f"{name} = excluded.{name}" for name in others)
            sql += f" ON CONFLICT ({key}) DO UPDATE SET {replaced}"
        self.writes[-1].append((sql, [[row[name] for row in rows] for name in types]))


class _Nothing:
    async def put(self, record: ConsumerRecord, reason: str) -> None:
        raise AssertionError(reason)


async def record(settings: TrackerSettings, ends: Mapping[TopicPartition, int]) -> list[list[Upsert]]:
    """Of each batch what projecting the log up to its ends writes, into the database of the settings."""
    recording = _Recording()
    pool = await open_pool(settings)
    try:
        projection = Projection(pool, load_queries())
        projection._storing = recording
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
