"""The tables that the tracker needs, and whose log they must tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import asyncpg

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated, reaching_database
from sagahook.runtime.starting import Tables

MIGRATIONS = Path(__file__).parents[1] / "migrations"


@dataclass(frozen=True, slots=True)
class ViewTables(Tables):
    """topics: what the views are to be made from. Those of another generation of topics name other records by the same
    numbers."""

    topics: tuple[str, ...]

    async def lacking(self, pool: asyncpg.Pool) -> str:
        return await Tables.lacking(self, pool) or await self._of_others(pool)

    async def _of_others(self, pool: asyncpg.Pool) -> str:
        try:
            with reaching_database():
                told = {
                    row["topic"] for row in await pool.fetch("SELECT DISTINCT topic FROM tracker.offsets")
                }
        except (NotMigrated, Unavailable) as away:
            return str(away)
        if not told or not told.isdisjoint(self.topics):
            return ""
        return f"the views are of other topics ({min(told)}, …): run `sagahook tracker rebuild`"


def view_tables(topics: list[str]) -> ViewTables:
    return ViewTables("tracker", MIGRATIONS, tuple(topics))
