"""Writes a batch: the rows it changes and the offsets they stand for, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batches, OffsetsMoved, Unavailable
from sagahook.runtime.database import reaching_database
from sagahook_schemas.audit import AuditRecorded
from sagahook_tracker.adapters import rows, told_rows
from sagahook_tracker.adapters.combined import Combined, Parameters
from sagahook_tracker.adapters.news import PAYLOAD_LIMIT, offsets_payload
from sagahook_tracker.adapters.partitions import Partitions, day_of
from sagahook_tracker.adapters.queries import SCHEMA
from sagahook_tracker.adapters.rows import text
from sagahook_tracker.domain.changes import Changes, Event, fold
from sagahook_tracker.domain.history import Entry
from sagahook_tracker.domain.runs import Run, RunKey


class Refused(Exception):
    """Dead-letter the record: PostgreSQL cannot hold a value of it. Nothing of the batch was kept."""


REFUSED = "PostgreSQL refused it"
"""What the reason of such a dead letter begins with."""

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
        self._combined = Combined(queries)
        self._channel = channel
        self._partitions = Partitions(schema)
        self._kept = _Kept()

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Those of the partitions that were read before. Raises Unavailable or NotMigrated."""
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            async with self._pool.acquire() as connection:
                found = [row async for row in self._queries.load_offsets(connection, topics=topics)]
        stored = rows.offsets_of(found)
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def take_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """As `load_offsets`, once whoever had the partitions before has nothing under way."""
        columns = {
            "topics": [partition.topic for partition in partitions],
            "partitions": [partition.partition for partition in partitions],
        }
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
                    async with connection.transaction():
                        return await self._store(connection, batches, events)
        except asyncpg.CheckViolationError as missing:
            self._partitions.forget()
            raise Unavailable(f"a partition was dropped a moment ago: {missing}") from missing
        except _REFUSALS as refusal:
            raise Refused(f"{REFUSED}: {refusal}") from refusal

    async def _store(
        self, connection: asyncpg.Connection, batches: Batches, events: Sequence[Event]
    ) -> Changes:
        """As few statements as there can be: the small batch, for which somebody waits, waits for each of them."""
        kept = self._kept = await self._advance(connection, batches)
        changes = fold(events, await self._load_runs(connection, events))
        held = await self._write(connection, changes, kept)
        await self._settle(connection, batches, changes, held, kept)
        return changes

    async def _advance(self, connection: asyncpg.Connection, batches: Batches) -> _Kept:
        ordered = sorted(batches.items())
        found = await self._queries.advance_offsets(
            connection,
            topics=[partition.topic for partition, _ in ordered],
            partitions=[partition.partition for partition, _ in ordered],
            expected=[batch.first_offset for _, batch in ordered],
            next=[batch.next_offset for _, batch in ordered],
        )
        if found["moved"] != len(batches):
            left = len(batches) - found["moved"]
            raise OffsetsMoved(f"{left} of {len(batches)} partitions are not where it began")
        return _Kept(
            found["history"] or _EVER, found["audit"] or _EVER, found["rollups"], found["history_rows"]
        )

    def _days(self, events: Sequence[Event]) -> set[date]:
        """Those of rows that may be kept."""
        times = {event.envelope.time for event in events}
        times |= {event.data.at for event in events if isinstance(event.data, AuditRecorded)}
        return {day_of(time) for time in times if time >= min(self._kept.history, self._kept.audit)}

    async def _load_runs(
        self, connection: asyncpg.Connection, events: Sequence[Event]
    ) -> Mapping[RunKey, Run]:
        keys = {run for event in events if (run := event.run) is not None}
        if not keys:
            return {}
        columns = {"saga_ids": [text(key[0]) for key in keys], "runs": [key[1] for key in keys]}
        runs = [rows.run_of(row) async for row in self._queries.load_runs(connection, **columns)]
        return {run.key: run for run in runs}

    async def _write(self, connection: asyncpg.Connection, changes: Changes, kept: _Kept) -> list[str]:
        """The events that stand otherwise now. All other rows are written by this projector alone, as long as it has
        the partitions that they are from."""
        moved = sorted(changes.moved)
        holding = {
            "event_ids": [text(event_id) for event_id in changes.touched | _linked(changes)],
            "saga_ids": [text(saga_id) for saga_id, _ in moved],
            "runs": [run for _, run in moved],
        }
        statement = self._combined.statement(_writes(changes, kept), ("hold_standings", holding))
        return [row["event_id"] for row in await connection.fetch(*statement)]

    async def _settle(
        self, connection: asyncpg.Connection, batches: Batches, changes: Changes, held: list[str], kept: _Kept
    ) -> None:
        """What depends on the rows of several partitions; and those who wait are told."""
        ended = sorted(changes.ended)
        await self._queries.settle(
            connection,
            event_ids=held,
            **rows.rollup_columns(changes.rollups),
            since=kept.rollups,
            correlation_ids=[text(correlation_id) for correlation_id in changes.waited_for],
            saga_ids=[text(saga_id) for saga_id, _ in ended],
            runs=[run for _, run in ended],
            offsets=offsets_payload(batches),
            channel=self._channel,
            limit=PAYLOAD_LIMIT,
        )


def _linked(changes: Changes) -> set[str]:
    """The events that are linked to a run which moved by a row that is not there yet."""
    return {link.event_id for link in changes.links.values() if (link.saga_id, link.run) in changes.moved}


def _writes(changes: Changes, kept: _Kept) -> list[tuple[str, Parameters]]:
    """The queries that write the rows, each with its columns."""
    routes, deliveries = changes.routes.values(), changes.deliveries.values()
    tables: tuple[tuple[str, Callable[[Any], Parameters], Collection[Any]], ...] = (
        ("add_webhooks", rows.webhook_columns, changes.webhooks.values()),
        ("add_routes", rows.route_columns, routes),
        ("add_asked", rows.asked_columns, routes),
        ("add_links", rows.link_columns, changes.links.values()),
        ("store_definitions", rows.definition_columns, changes.definitions.values()),
        ("store_controls", rows.control_columns, changes.controls.values()),
        ("store_runs", rows.run_columns, changes.runs.values()),
        ("store_attempts", rows.attempt_columns, changes.attempts.values()),
        ("add_history", rows.history_columns, _kept_history(changes, kept)),
        ("trim_history", rows.trimmed_columns, _long_runs(changes, kept)),
        ("store_deliveries", told_rows.delivery_columns, deliveries),
        ("add_delivery_attempts", told_rows.delivery_attempt_columns, deliveries),
        (
            "add_audit",
            told_rows.audit_columns,
            [each for each in changes.audit.values() if each.told.at >= kept.audit],
        ),
    )
    return [(query, columns_of(changed)) for query, columns_of, changed in tables if changed]


def _kept_history(changes: Changes, kept: _Kept) -> list[Entry]:
    return [
        entry
        for entry in changes.history
        if entry.at >= kept.history
        and (
            kept.rows is None or entry.sequence > changes.runs[entry.saga_id, entry.run].sequence - kept.rows
        )
    ]


def _long_runs(changes: Changes, kept: _Kept) -> list[tuple[Run, int]]:
    """Those with more events than history keeps, and how many of them are too many."""
    if kept.rows is None:
        return []
    return [(run, run.sequence - kept.rows) for run in changes.runs.values() if run.sequence > kept.rows]
