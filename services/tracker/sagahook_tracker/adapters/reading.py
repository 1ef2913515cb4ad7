"""The named queries of reading.sql, each asked on a connection of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_tracker.adapters.rows import text

Row = Mapping[str, Any]


class Reading:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables. queries: of
    reading.sql."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def rows(self, query: str, **parameters: Any) -> list[Row]:
        """Planned once for all values: of queries that find single rows."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                return [row async for row in getattr(self._queries, query)(connection, **_kept(parameters))]

    async def first(self, query: str, **parameters: Any) -> Row | None:
        return next(iter(await self.rows(query, **parameters)), None)

    async def page(self, query: str, **parameters: Any) -> list[Row]:
        """Planned for the values that are given: of lists, whose filters find one index or another."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._queries.plan_for_these_values(connection)
                return [row async for row in getattr(self._queries, query)(connection, **_kept(parameters))]

    async def snapshot(self, *queries: tuple[str, Mapping[str, Any]]) -> list[list[Row]]:
        """The rows of several queries, all of one moment."""
        with reaching_database():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return [
                    [row async for row in getattr(self._queries, query)(connection, **_kept(parameters))]
                    for query, parameters in queries
                ]


def _kept(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As the views keep them: a text that PostgreSQL cannot hold was changed in the same way when it was written."""
    return {name: text(value) if isinstance(value, str) else value for name, value in parameters.items()}
