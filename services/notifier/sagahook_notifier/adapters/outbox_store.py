"""The outbox's rows in PostgreSQL. Every call raises Unavailable while the database is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.runtime.database import alone, reaching_database

queries: Any = aiosql.from_path(Path(__file__).with_name("outbox.sql"), "asyncpg")


@dataclass(frozen=True, slots=True)
class Packed:
    """The messages of one transaction on their way to Kafka, the n-th of each list being the n-th message's; headers as
    JSON. id: their place in the outbox."""

    id: int
    keys: list[str]
    headers: list[str]
    payloads: list[str]


class OutboxStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[OutboxQueue | None]:
        """None where another process has it. It is ours until the block ends, or its one connection does: the order of
        the outbox is kept by there being one publisher."""
        with reaching_database():
            async with (
                self._pool.acquire() as connection,
                alone(connection, "sagahook.notifier", "outbox") as nobody_else,
            ):
                yield OutboxQueue(connection) if nobody_else else None


class OutboxQueue:
    """The outbox, through the connection that holds the publisher's lock."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def first(self, most: int) -> list[Packed]:
        with reaching_database():
            return [Packed(**row) async for row in queries.first(self._connection, most=most)]

    async def remove(self, packed: Sequence[Packed]) -> None:
        with reaching_database():
            await queries.remove(self._connection, ids=[each.id for each in packed])
