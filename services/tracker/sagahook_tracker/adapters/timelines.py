"""Reads from the views what a timeline is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import aiosql
import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.topics import SAGA_EVENTS
from sagahook_tracker.adapters.timeline_rows import (
    DeliverySummary,
    RunSummary,
    delivered,
    received,
    routed,
    run_of,
    saga_events,
    untold,
    views,
)
from sagahook_tracker.domain.chapters import Cursor, Marks
from sagahook_tracker.domain.runs import RunKey
from sagahook_tracker.domain.status import EventView
from sagahook_tracker.domain.timeline import Entry

What = Literal["saga", "event", "delivery", "correlation"]

MOST_EVENTS, MOST_RUNS, MOST_DELIVERIES = 1_000, 2_000, 2_000
"""That one timeline tells of."""

AT_ONCE = 2_000
"""Events of sagas that are put in order together."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """entries: in no particular order. events: how each webhook stands. more: there are further events of sagas,
    which come after these. bounded: not all webhooks, runs or deliveries are among it, because they are too many."""

    what: What
    entries: tuple[Entry, ...] = ()
    runs: tuple[RunSummary, ...] = ()
    deliveries: tuple[DeliverySummary, ...] = ()
    events: tuple[EventView, ...] = ()
    more: bool = False
    bounded: bool = False
    untold: Mapping[RunKey, int] = field(default_factory=dict)

    @property
    def parents(self) -> dict[RunKey, ParentStep]:
        return {run.key: run.parent for run in self.runs if run.parent is not None}


def load_timeline_queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("timeline.sql"), "asyncpg")


class Timelines:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def what_is(self, thing: str) -> tuple[What, str] | None:
        """What the id names, and the id to look it up by."""
        for row in await self._rows("what_is", id=thing):
            return row["what"], row["id"]
        return None

    async def step_times(self, saga_id: str, run: int) -> dict[str, timedelta]:
        """How long each step took that has ended."""
        rows = await self._rows("step_times", saga_id=saga_id, run=run)
        return {row["step"]: row["took"] for row in rows}

    async def load(self, what: What, thing: str, cursor: Cursor) -> Loaded:
        """What there is to tell, as one moment has it: everything where that is not much, else what comes after the
        cursor."""
        with reaching_database():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await _Reading(connection, self._queries).load(what, thing, cursor)

    async def _rows(self, query: str, **parameters: Any) -> list[Mapping[str, Any]]:
        with reaching_database():
            async with self._pool.acquire() as connection:
                return [row async for row in getattr(self._queries, query)(connection, **parameters)]


class _Reading:
    def __init__(self, connection: asyncpg.Connection, queries: Any) -> None:
        self._connection = connection
        self._queries = queries

    async def load(self, what: What, thing: str, cursor: Cursor) -> Loaded:
        events = [
            row["event_id"] for row in await self._rows("events_of", what=what, id=thing, limit=MOST_EVENTS)
        ]
        runs = [
            run_of(row)
            for row in await self._rows("runs_of", what=what, id=thing, event_ids=events, limit=MOST_RUNS)
        ]
        keys: dict[str, list[Any]] = {
            "saga_ids": [run.saga_id for run in runs],
            "runs": [run.run for run in runs],
        }
        links = await self._rows("link_rows", **keys)
        routes = await self._rows("route_rows", event_ids=events)
        webhooks = await self._rows("webhook_rows", event_ids=events)
        named = [thing] if what == "delivery" else None
        deliveries = [
            DeliverySummary(**row)
            for row in await self._rows("delivery_rows", **keys, delivery_ids=named, limit=MOST_DELIVERIES)
        ]
        history, more = await self._history(keys, cursor)
        attempts = await self._rows(
            "delivery_attempt_rows", delivery_ids=[each.delivery_id for each in deliveries]
        )
        return Loaded(
            what,
            entries=(
                *map(received, webhooks),
                *map(routed, routes),
                *saga_events(history, runs, links),
                *delivered(attempts, deliveries),
            ),
            runs=tuple(runs),
            deliveries=tuple(deliveries),
            events=tuple(views(events, routes, links, runs)),
            more=more,
            bounded=len(events) == MOST_EVENTS
            or len(runs) == MOST_RUNS
            or len(deliveries) == MOST_DELIVERIES,
            untold={} if more or cursor.told else untold(runs, history),
        )

    async def _history(
        self, keys: dict[str, list[Any]], cursor: Cursor
    ) -> tuple[list[Mapping[str, Any]], bool]:
        everything = await self._marked(keys, Cursor(until=cursor.until), AT_ONCE + 1)
        if len(everything) <= AT_ONCE:
            return everything, False
        rows = await self._marked(keys, cursor, AT_ONCE)
        return rows, len(rows) == AT_ONCE

    async def _marked(
        self, keys: dict[str, list[Any]], cursor: Cursor, limit: int
    ) -> list[Mapping[str, Any]]:
        until: Marks = cursor.until or {}
        partitions = sorted(
            {partition for topic, partition in (*cursor.told, *until) if topic == SAGA_EVENTS.base}
        )
        return await self._rows(
            "history_rows",
            **keys,
            partitions=partitions,
            told=[cursor.told.get((SAGA_EVENTS.base, each), -1) for each in partitions],
            until=[until.get((SAGA_EVENTS.base, each), -1) for each in partitions],
            all_of_them=cursor.until is None,
            limit=limit,
        )

    async def _rows(self, query: str, **parameters: Any) -> list[Mapping[str, Any]]:
        return [row async for row in getattr(self._queries, query)(self._connection, **parameters)]
