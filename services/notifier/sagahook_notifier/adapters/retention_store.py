"""What is let go of PostgreSQL. Every call is one transaction, and raises Unavailable while the database is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.runtime.database import alone, reaching_database

queries: Any = aiosql.from_path(Path(__file__).with_name("retention.sql"), "asyncpg")

DELIVERED = ("succeeded", "cancelled")
DEAD = ("exhausted",)


class RetentionStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def cleaning(self) -> AsyncIterator[OldRows | None]:
        """None where another process is at it."""
        with reaching_database():
            async with (
                self._pool.acquire() as connection,
                alone(connection, "sagahook.notifier", "retention") as nobody_else,
            ):
                yield OldRows(connection) if nobody_else else None


class OldRows:
    """Through the connection that holds the cleaner's lock. What expires is counted, and bounded by how_many: as many
    means that there may be more."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def read_until(self) -> datetime | None:
        read_until: datetime | None = await queries.load_read_until(self._connection)
        return read_until

    async def raise_fence(self, before: datetime) -> None:
        await queries.raise_fence(self._connection, before=before)

    async def endpoints(self) -> list[str]:
        return [row["id"] async for row in queries.endpoint_ids(self._connection)]

    async def expire_deliveries(
        self, endpoints: Sequence[str], statuses: Sequence[str], before: datetime, how_many: int
    ) -> int:
        count: int = await queries.expire_deliveries(
            self._connection, endpoints=endpoints, statuses=statuses, before=before, how_many=how_many
        )
        return count

    async def expire_sagas(self, before: datetime, how_many: int) -> int:
        count: int = await queries.expire_sagas(self._connection, before=before, how_many=how_many)
        return count

    async def expire_callers(self, before: datetime, how_many: int) -> int:
        async with self._connection.transaction():
            await queries.hold_fence(self._connection)
            count: int = await queries.expire_callers(self._connection, before=before, how_many=how_many)
            return count
