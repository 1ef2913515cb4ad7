"""Finds runs by what operators know of them."""

from __future__ import annotations

from typing import Any

import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_tracker.adapters.queries import by_attributes
from sagahook_tracker.adapters.rows import run_of
from sagahook_tracker.domain.operating import Filter
from sagahook_tracker.domain.positions import Position
from sagahook_tracker.domain.runs import Run


class Finder:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def runs(
        self, wanted: Filter, how_many: int, after: Position | None = None
    ) -> tuple[list[Run], Position | None]:
        """The newest runs of sagas, those that started last first, without their contexts; and where to go on, None at
        the end."""
        rows = await self._find(wanted, how_many + 1, after)
        page = rows[:how_many]
        more = Position(page[-1]["position"], page[-1]["number"]) if len(rows) > how_many else None
        return [_run(row) for row in page], more

    async def _find(self, wanted: Filter, how_many: int, after: Position | None) -> list[Any]:
        query, attributes = by_attributes("find_runs", wanted.attributes)
        parameters = attributes | {
            "states": list(wanted.states) or None,
            "name": wanted.name,
            "version": wanted.version,
            "cause": wanted.cause,
            "source": wanted.source,
            "started_before": wanted.started_before,
            "started_after": wanted.started_after,
            "after_start": None if after is None else after.time,
            "after_number": None if after is None else after.number,
            "how_many": how_many,
        }
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._queries.plan_for_these_values(connection)
                return [row async for row in getattr(self._queries, query)(connection, **parameters)]


def _run(row: Any) -> Run:
    fields = dict(row)
    del fields["position"]
    return run_of(fields)
