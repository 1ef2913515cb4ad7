"""The partitions of the tables that are let go by days."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import asyncpg

from sagahook_tracker.adapters.queries import SCHEMA

PARTITIONED = ("history", "audit")
"""By the UTC day of their column `at`. A partition is called `<table>_YYYYMMDD`."""


class Partitions:
    """Those that a projector needs for what it is about to write."""

    def __init__(self, schema: str = SCHEMA) -> None:
        self._schema = schema
        self._known: set[date] = set()

    async def ensure(self, connection: asyncpg.Connection, days: Collection[date]) -> None:
        """Each of the days has its partitions, made in a transaction of their own. One that was there may have been
        dropped since: then its day is before the cut-off, and nothing of it is written."""
        missing = set(days) - self._known
        if missing:
            await make_partitions(connection, self._schema, sorted(missing))
            self._known |= missing

    def forget(self) -> None:
        """Somebody dropped one: after a swap of the views a cut-off may have gone back."""
        self._known.clear()


def day_of(time: datetime) -> date:
    return time.astimezone(UTC).date()


def partition_name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


async def make_partitions(
    connection: asyncpg.Connection,
    schema: str,
    days: Collection[date],
    tables: Collection[str] = PARTITIONED,
) -> None:
    """Those that are not there, in one transaction or as part of the one that is open.

    A table that is made alone and attached then keeps nobody waiting, as one that is made within its parent would.
    """
    async with connection.transaction():
        # The swap of a rebuild must not come in between: see close_gate in retention.sql. Then, one at a time.
        await connection.execute(f"LOCK TABLE {schema}.offsets IN ROW EXCLUSIVE MODE")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sagahook.partitions'))")
        for table in tables:
            for day in days:
                await _make(connection, f"{schema}.{table}", f"{schema}.{partition_name(table, day)}", day)


async def _make(connection: asyncpg.Connection, parent: str, name: str, day: date) -> None:
    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
        return
    begin, end = f"{day} 00:00:00+00", f"{day + timedelta(days=1)} 00:00:00+00"
    await connection.execute(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)")
    await connection.execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')"
    )
