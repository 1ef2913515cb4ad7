"""What there is in PostgreSQL, counted. Raises Unavailable while it is away, NotMigrated where it has no tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.runtime.database import reaching_database

queries: Any = aiosql.from_path(Path(__file__).with_name("survey.sql"), "asyncpg")


@dataclass(frozen=True, slots=True)
class Counted:
    """endpoints: by state, without those that are 0. outbox: transactions whose outcomes Kafka does not have yet."""

    endpoints: dict[str, int]
    deliveries: int
    outbox: int


class SurveyStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def count(self) -> Counted:
        with reaching_database():
            endpoints = {row["state"]: row["count"] async for row in queries.count_endpoints(self._pool)}
            waiting = await queries.count_waiting(self._pool)
        return Counted(endpoints, waiting["deliveries"], waiting["outbox"])
