"""Writes a batch: the rows it changes and the offsets they stand for, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batches, OffsetsMoved, Unavailable
from sagahook.runtime.database import reaching_database
from sagahook_schemas.audit import AuditRecorded
from sagahook_tracker.adapters import rows
from sagahook_tracker.adapters.partitions import Partitions, day_of
from sagahook_tracker.adapters.queries import SCHEMA
from sagahook_tracker.adapters.rows import text
from sagahook_tracker.adapters.storing import KNOWN, MOVED, NotJson, Storing, parameters_of
from sagahook_tracker.domain.changes import Changes, Event, fold
from sagahook_tracker.domain.open_runs import OpenRuns
from sagahook_tracker.domain.runs import Run, RunKey


class Refused(Exception):
    """Dead-letter the record: PostgreSQL cannot hold a value of it. Nothing of the batch was kept."""


REFUSED = "PostgreSQL refused it"
"""What the reason of such a dead letter begins with."""

_REFUSALS = (
    NotJson,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # an index entry that is too long
)

_EVER = datetime.min.replace(tzinfo=UTC)


class Projection:
    """queries: see `sagahook_tracker.adapters.queries`; schema: theirs. channel: where those who wait are told; None:
    nobody is, as long as nobody reads these views."""

    def __init__(
        self, pool: asyncpg.Pool, queries: Any, *, schema: str = SCHEMA, channel: str | None = None
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._storing = Storing(schema)
        self._channel = channel
        self._partitions = Partitions(schema)
        self._open = OpenRuns()
        self._kept_since = _EVER
        """From when on rows are kept, as far as it is known."""
        self._views: int | None = None
        """Those that the open runs are of."""

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Those of the partitions that were read before. Raises Unavailable or NotMigrated."""
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            async with self._pool.acquire() as connection:
                found = [row async for row in self._queries.load_offsets(connection, topics=topics)]
        self._forget()
        stored = rows.offsets_of(found)
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def take_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """As `load_offsets`, once whoever had the partitions before has nothing under way."""
        columns = {
            "topics": [partition.topic for partition in partitions],
            "partitions": [partition.partition for partition in partitions],
        }
        self._forget()
        with reaching_database():
            async with self._pool.acquire() as connection:
                return rows.offsets_of(
                    [row async for row in self._queries.take_offsets(connection, **columns)]
                )

    async def store(self, batches: Batches, events: Sequence[Event]) -> Changes:
        """What the events changed. Raises OffsetsMoved, Refused or Unavailable, and then nothing was kept."""
        try:
            with reaching_database():
                async with self._pool.acquire() as connection:
                    await self._partitions.ensure(connection, self._days(events))
                    return await self._store(connection, batches, events)
        except asyncpg.CheckViolationError as missing:
            self._partitions.forget()
            self._kept_since = _EVER  # a cut-off may have gone back
            raise Unavailable(f"a partition was dropped a moment ago: {missing}") from missing
        except _REFUSALS as refusal:
            raise Refused(f"{REFUSED}: {refusal}") from refusal

    async def _store(
        self, connection: asyncpg.Connection, batches: Batches, events: Sequence[Event]
    ) -> Changes:
        """One call of the database, mostly: the small batch, for which somebody waits, waits for each of them."""
        runs, missing = self._open.take(events)
        begun = {key for key, sequence in missing.items() if sequence == 1}
        await self._load(connection, missing.keys() - begun, runs)
        try:
            return await self._call(connection, batches, fold(events, runs), begun)
        except asyncpg.PostgresError as refusal:
            if refusal.sqlstate == MOVED:
                raise OffsetsMoved(str(refusal)) from refusal
            if refusal.sqlstate != KNOWN:
                raise
        # An event that is in the log twice: what it began is there.
        runs = {}
        await self._load(connection, {key for event in events if (key := event.run)}, runs)
        return await self._call(connection, batches, fold(events, runs), ())

    async def _call(
        self, connection: asyncpg.Connection, batches: Batches, changes: Changes, begun: Collection[RunKey]
    ) -> Changes:
        parameters = parameters_of(batches, changes, begun, channel=self._channel, known_views=self._views)
        told = await self._storing.call(connection, parameters)
        self._kept_since = min(told["history_since"] or _EVER, told["audit_since"] or _EVER)
        self._views = told["views"]
        self._open.keep(changes.runs.values())
        return changes

    def _forget(self) -> None:
        self._open.forget()
        self._views = None

    def _days(self, events: Sequence[Event]) -> set[date]:
        """Those of rows that may be kept."""
        times = {event.envelope.time for event in events}
        times |= {event.data.at for event in events if isinstance(event.data, AuditRecorded)}
        return {day_of(time) for time in times if time >= self._kept_since}

    async def _load(
        self, connection: asyncpg.Connection, keys: Collection[RunKey], into: dict[RunKey, Run]
    ) -> None:
        """Those of the runs that are there. What the partitions' offsets tell cannot change before the batch moves
        them, or is refused."""
        if keys:
            self._views = self._views or await self._queries.which_views(connection)
            columns = {"saga_ids": [text(key[0]) for key in keys], "runs": [key[1] for key in keys]}
            async for row in self._queries.load_runs(connection, **columns):
                run = rows.run_of(row)
                into[run.key] = run
