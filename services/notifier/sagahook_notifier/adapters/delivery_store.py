"""What people ask of deliveries, in PostgreSQL. Every call is one transaction, and raises Unavailable while the
database is away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import aiosql
import asyncpg

from sagahook.runtime.database import reaching_database

queries: Any = aiosql.from_path(Path(__file__).with_name("deliveries.sql"), "asyncpg")

DeliveryStatus = Literal["pending", "succeeded", "exhausted", "cancelled"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries, by when they were made; None: whichever."""

    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    most: int = 50
    skipped: int = 0


class DeliveryStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, delivery_id: str) -> tuple[Row, list[Row]] | None:
        """The delivery and its attempts."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                row = await queries.load_delivery(connection, id=delivery_id)
                if row is None:
                    return None
                attempts = queries.load_attempts(connection, delivery_id=delivery_id)
                return row, [attempt async for attempt in attempts]

    async def of_endpoint(
        self, endpoint_id: str, status: DeliveryStatus | None, wanted: Wanted
    ) -> list[Row] | None:
        """Newest first; None: there never was such an endpoint."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                if not await queries.endpoint_exists(connection, id=endpoint_id):
                    return None
                rows = queries.list_deliveries(
                    connection, endpoint_id=endpoint_id, status=status, **_arguments(wanted)
                )
                return [row async for row in rows]

    async def dead_letters(self, wanted: Wanted) -> list[Row]:
        """Those whose attempts are used up, of all endpoints, newest first."""
        with reaching_database():
            return [row async for row in queries.list_dead_letters(self._pool, **_arguments(wanted))]

    async def resend(self, delivery_id: str, now: datetime) -> bool:
        """False: it is being sent at this moment."""
        with reaching_database():
            return await queries.resend(self._pool, id=delivery_id, now=now) is not None

    async def redrive(
        self,
        *,
        endpoint_id: str | None,
        since: datetime,
        until: datetime | None,
        now: datetime,
        rate: float,
        most: int,
    ) -> int:
        """How many of the exhausted ones are sent again, so many a second to each endpoint."""
        with reaching_database():
            count: int = await queries.redrive(
                self._pool,
                endpoint_id=endpoint_id,
                since=since,
                until=until,
                now=now,
                gap=1 / rate,
                most=most,
            )
            return count


def _arguments(wanted: Wanted) -> dict[str, Any]:
    return {
        "event_type": wanted.event_type,
        "since": wanted.since,
        "until": wanted.until,
        "most": wanted.most,
        "skipped": wanted.skipped,
    }
