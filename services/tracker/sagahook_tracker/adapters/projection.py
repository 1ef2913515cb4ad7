"""Writes a batch: the rows it changes and the offsets they stand for, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batches, OffsetsMoved
from sagahook.runtime.database import reaching_database
from sagahook_tracker.adapters.news import CHANNEL, PAYLOAD_LIMIT, offsets_payload
from sagahook_tracker.adapters.rows import (
    control_columns,
    definition_columns,
    link_columns,
    route_columns,
    run_columns,
    run_of,
    text,
    webhook_columns,
)
from sagahook_tracker.domain.changes import Changes, Event, fold
from sagahook_tracker.domain.runs import Run, RunKey


class Refused(Exception):
    """Dead-letter the record: PostgreSQL cannot hold a value of it. Nothing of the batch was kept."""


_REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # an index entry that is too long
)


class Projection:
    """queries: see `sagahook_tracker.adapters.queries`."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Those of the partitions that were read before. Raises Unavailable or NotMigrated."""
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            async with self._pool.acquire() as connection:
                rows = [row async for row in self._queries.load_offsets(connection, topics=topics)]
        stored = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def store(self, batches: Batches, events: Sequence[Event]) -> Changes:
        """What the events changed. Raises OffsetsMoved, Refused or Unavailable, and then nothing was kept."""
        try:
            with reaching_database():
                async with self._pool.acquire() as connection, connection.transaction():
                    await self._advance(connection, batches)
                    changes = fold(events, await self._load_runs(connection, events))
                    await self._write(connection, changes)
                    await self._announce(connection, batches, changes)
        except _REFUSALS as refusal:
            raise Refused(f"PostgreSQL refused it: {refusal}") from refusal
        return changes

    async def _advance(self, connection: asyncpg.Connection, batches: Batches) -> None:
        moved = await self._queries.advance_offsets(
            connection,
            topics=[partition.topic for partition in batches],
            partitions=[partition.partition for partition in batches],
            expected=[batch.first_offset for batch in batches.values()],
            next=[batch.next_offset for batch in batches.values()],
        )
        if moved != len(batches):
            raise OffsetsMoved(f"{len(batches) - moved} of {len(batches)} partitions are not where it began")

    async def _load_runs(
        self, connection: asyncpg.Connection, events: Sequence[Event]
    ) -> Mapping[RunKey, Run]:
        keys = {event.run for event in events if event.run is not None}
        if not keys:
            return {}
        columns = {"saga_ids": [text(key[0]) for key in keys], "runs": [key[1] for key in keys]}
        runs = [run_of(row) async for row in self._queries.load_runs(connection, **columns)]
        return {run.key: run for run in runs}

    async def _write(self, connection: asyncpg.Connection, changes: Changes) -> None:
        if changes.webhooks:
            await self._queries.add_webhooks(connection, **webhook_columns(changes.webhooks.values()))
        if changes.routes:
            await self._queries.store_routes(connection, **route_columns(changes.routes.values()))
        if changes.links:
            await self._queries.add_links(connection, **link_columns(changes.links.values()))
        if changes.definitions:
            columns = definition_columns(changes.definitions.values())
            await self._queries.store_definitions(connection, **columns)
        if changes.controls:
            await self._queries.store_controls(connection, **control_columns(changes.controls.values()))
        if changes.runs:
            await self._queries.store_runs(connection, **run_columns(changes.runs.values()))

    async def _announce(self, connection: asyncpg.Connection, batches: Batches, changes: Changes) -> None:
        ended = sorted(changes.ended)
        await self._queries.announce(
            connection,
            channel=CHANNEL,
            limit=PAYLOAD_LIMIT,
            correlation_ids=[text(correlation_id) for correlation_id in changes.waited_for],
            saga_ids=[text(saga_id) for saga_id, _ in ended],
            runs=[run for _, run in ended],
            offsets=offsets_payload(batches),
        )
