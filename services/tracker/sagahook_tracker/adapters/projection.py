"""Writes a batch: the rows it changes and the offsets they stand for, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batches, OffsetsMoved
from sagahook.runtime.database import reaching_database
from sagahook_schemas.audit import AuditRecorded
from sagahook_tracker.adapters import rows, told_rows
from sagahook_tracker.adapters.news import PAYLOAD_LIMIT, offsets_payload
from sagahook_tracker.adapters.partitions import Partitions, day_of
from sagahook_tracker.adapters.queries import SCHEMA
from sagahook_tracker.adapters.rows import text
from sagahook_tracker.domain.changes import Changes, Event, fold
from sagahook_tracker.domain.history import Entry
from sagahook_tracker.domain.runs import Run, RunKey


class Refused(Exception):
    """Dead-letter the record: PostgreSQL cannot hold a value of it. Nothing of the batch was kept."""


_REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # an index entry that is too long
)

_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Kept:
    """From when on rows are kept; rows: the most events of a run that history keeps, None: all."""

    history: datetime = _EVER
    audit: datetime = _EVER
    rollups: datetime | None = None
    rows: int | None = None


class Projection:
    """queries: see `sagahook_tracker.adapters.queries`; schema: theirs. channel: where those who wait are told; None:
    nobody is, as long as nobody reads these views."""

    def __init__(
        self, pool: asyncpg.Pool, queries: Any, *, schema: str = SCHEMA, channel: str | None = None
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._schema = schema
        self._channel = channel
        self._partitions = Partitions(schema)
        self._kept = _Kept()

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Those of the partitions that were read before. Raises Unavailable or NotMigrated."""
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            async with self._pool.acquire() as connection:
                found = [row async for row in self._queries.load_offsets(connection, topics=topics)]
        stored = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in found}
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def store(self, batches: Batches, events: Sequence[Event]) -> Changes:
        """What the events changed. Raises OffsetsMoved, Refused or Unavailable, and then nothing was kept."""
        try:
            with reaching_database():
                async with self._pool.acquire() as connection:
                    await self._partitions.ensure(connection, self._days(events))
                    async with connection.transaction():
                        return await self._store(connection, batches, events)
        except _REFUSALS as refusal:
            raise Refused(f"PostgreSQL refused it: {refusal}") from refusal

    async def _store(
        self, connection: asyncpg.Connection, batches: Batches, events: Sequence[Event]
    ) -> Changes:
        await self._advance(connection, batches)
        kept = self._kept = await self._load_kept(connection)
        changes = fold(events, await self._load_runs(connection, events))
        await self._write(connection, changes, kept)
        await self._settle(connection, changes, kept)
        await self._announce(connection, batches, changes)
        return changes

    async def _advance(self, connection: asyncpg.Connection, batches: Batches) -> None:
        ordered = sorted(batches.items())
        moved = await self._queries.advance_offsets(
            connection,
            topics=[partition.topic for partition, _ in ordered],
            partitions=[partition.partition for partition, _ in ordered],
            expected=[batch.first_offset for _, batch in ordered],
            next=[batch.next_offset for _, batch in ordered],
        )
        if moved != len(batches):
            raise OffsetsMoved(f"{len(batches) - moved} of {len(batches)} partitions are not where it began")

    def _days(self, events: Sequence[Event]) -> set[date]:
        """Those of rows that may be kept."""
        times = {event.envelope.time for event in events}
        times |= {event.data.at for event in events if isinstance(event.data, AuditRecorded)}
        return {day_of(time) for time in times if time >= min(self._kept.history, self._kept.audit)}

    async def _load_kept(self, connection: asyncpg.Connection) -> _Kept:
        found = {row["kind"]: row async for row in self._queries.load_cutoffs(connection)}
        before = {kind: row["before"] for kind, row in found.items()}
        return _Kept(
            before.get("history", _EVER),
            before.get("audit", _EVER),
            before.get("rollups"),
            found["history"]["rows"] if "history" in found else None,
        )

    async def _load_runs(
        self, connection: asyncpg.Connection, events: Sequence[Event]
    ) -> Mapping[RunKey, Run]:
        keys = {run for event in events if (run := event.run) is not None}
        if not keys:
            return {}
        columns = {"saga_ids": [text(key[0]) for key in keys], "runs": [key[1] for key in keys]}
        runs = [rows.run_of(row) async for row in self._queries.load_runs(connection, **columns)]
        return {run.key: run for run in runs}

    async def _write(self, connection: asyncpg.Connection, changes: Changes, kept: _Kept) -> None:
        """Only what standings and rollups are about lies in rows that another projector may change too."""
        queries = self._queries
        routes, deliveries = changes.routes.values(), changes.deliveries.values()
        audit = [each for each in changes.audit.values() if each.told.at >= kept.audit]
        stores: tuple[tuple[Any, Callable[[Any], rows.Columns], Collection[Any]], ...] = (
            (queries.add_webhooks, rows.webhook_columns, changes.webhooks.values()),
            (queries.add_routes, rows.route_columns, routes),
            (queries.add_asked, rows.asked_columns, routes),
            (queries.add_links, rows.link_columns, changes.links.values()),
            (queries.store_definitions, rows.definition_columns, changes.definitions.values()),
            (queries.store_controls, rows.control_columns, changes.controls.values()),
            (queries.store_runs, rows.run_columns, changes.runs.values()),
            (queries.store_attempts, rows.attempt_columns, changes.attempts.values()),
            (queries.store_deliveries, told_rows.delivery_columns, deliveries),
            (queries.add_delivery_attempts, told_rows.delivery_attempt_columns, deliveries),
            (queries.add_audit, told_rows.audit_columns, audit),
        )
        for store, columns_of, changed in stores:
            if changed:
                await store(connection, **columns_of(changed))
        if changes.history:
            await self._write_history(connection, changes, kept)

    async def _write_history(self, connection: asyncpg.Connection, changes: Changes, kept: _Kept) -> None:
        def is_kept(entry: Entry) -> bool:
            run = changes.runs[entry.saga_id, entry.run]
            return entry.at >= kept.history and (
                kept.rows is None or entry.sequence > run.sequence - kept.rows
            )

        await connection.copy_records_to_table(
            "history",
            schema_name=self._schema,
            columns=rows.HISTORY_COLUMNS,
            records=rows.history_rows(filter(is_kept, changes.history)),
        )
        long = [run for run in changes.runs.values() if kept.rows is not None and run.sequence > kept.rows]
        if long:
            await self._queries.trim_history(
                connection,
                saga_ids=[text(run.saga_id) for run in long],
                runs=[run.run for run in long],
                sequences=[run.sequence - (kept.rows or 0) for run in long],
            )

    async def _settle(self, connection: asyncpg.Connection, changes: Changes, kept: _Kept) -> None:
        """What depends on the rows of several partitions."""
        held: list[str] = []
        if changes.touched or changes.moved:
            moved = sorted(changes.moved)
            columns = {
                "event_ids": [text(event_id) for event_id in changes.touched],
                "saga_ids": [text(saga_id) for saga_id, _ in moved],
                "runs": [run for _, run in moved],
            }
            held = [row["event_id"] async for row in self._queries.hold_standings(connection, **columns)]
        rollups = rows.rollup_columns(changes.rollups)
        if held or rollups["kinds"]:
            await self._queries.settle(connection, event_ids=held, since=kept.rollups, **rollups)

    async def _announce(self, connection: asyncpg.Connection, batches: Batches, changes: Changes) -> None:
        if self._channel is None:
            return
        ended = sorted(changes.ended)
        await self._queries.announce(
            connection,
            channel=self._channel,
            limit=PAYLOAD_LIMIT,
            correlation_ids=[text(correlation_id) for correlation_id in changes.waited_for],
            saga_ids=[text(saga_id) for saga_id, _ in ended],
            runs=[run for _, run in ended],
            offsets=offsets_payload(batches),
        )
