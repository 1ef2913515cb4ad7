"""What a service needs before it can do anything: its topics, and its tables. It waits for them, and says what is
missing, however long the Jobs that make them take."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated, reaching_database
from sagahook.runtime.health import Health
from sagahook.runtime.logging import get_logger
from sagahook.runtime.migrations import newest
from sagahook.runtime.settings import DatabaseSettings
from sagahook.runtime.topics import await_partition_count

log = get_logger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Tables:
    """A service's schema, and the migrations that make it."""

    schema: str
    migrations: Path

    async def lacking(self, pool: asyncpg.Pool) -> str:
        """What is missing, and what to do; "" where it is as new as this version needs, or newer: the versions before
        and after a migration run side by side while replicas are replaced."""
        needed = newest(self.migrations)
        try:
            with reaching_database():
                found: str = await pool.fetchval(f"SELECT version_num FROM {self.schema}.schema_version")  # noqa: S608  # our own name
        except NotMigrated:
            return f"the database has no schema {self.schema}: run `sagahook migrate`"
        except Unavailable as away:
            return str(away)
        if found < needed:
            return (
                f"the schema {self.schema} is at {found}, this version needs {needed}: run `sagahook migrate`"
            )
        return ""

    async def wait(self, pool: asyncpg.Pool, stopping: asyncio.Event) -> bool:
        """Until they are there; False when stopped."""
        said = ""
        while not stopping.is_set():
            why = await self.lacking(pool)
            if not why:
                return True
            if why != said:
                log.warning("tables.waiting", error=why)
                said = why
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _RETRY_SECONDS)
        return False


async def tell_started(
    health: Health, settings: DatabaseSettings, pool: asyncpg.Pool, tables: Tables, stopping: asyncio.Event
) -> None:
    """Say that the service has started, once its topics and its tables are there."""
    partitions = await await_partition_count(settings.kafka, settings.topic_prefix, stopping)
    if partitions is not None and await tables.wait(pool, stopping):
        health.started = True
