"""Reads what the topic audit told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.domain.positions import Position

Outcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None: whichever. before, after: of `at`."""

    actor: str | None = None
    action: str | None = None
    outcome: Outcome | None = None
    service: str | None = None
    target: str | None = None
    client: str | None = None
    before: datetime | None = None
    after: datetime | None = None


class AuditReading:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = load_queries("audit.sql")

    async def page(
        self, wanted: AuditFilter, how_many: int, after: Position | None
    ) -> tuple[list[dict[str, Any]], Position | None]:
        """Rows, the newest first, and where to go on: None at the end. Raises Unavailable, NotMigrated."""
        parameters = asdict(wanted) | {
            "after_time": None if after is None else after.time,
            "after_number": None if after is None else after.number,
            "how_many": how_many + 1,
        }
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction(readonly=True):
                await self._queries.plan_for_these_values(connection)
                rows = [row async for row in self._queries.find_audit(connection, **parameters)]
        page = rows[:how_many]
        more = Position(page[-1]["position"], page[-1]["number"]) if len(rows) > how_many else None
        return [dict(row) for row in page], more
