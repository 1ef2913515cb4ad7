"""Finds, in the views, work that does not go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_schemas.definitions import SagaDefinition
from sagahook_tracker.adapters.rows import run_of
from sagahook_tracker.domain.runs import Run
from sagahook_tracker.domain.stuck import GRACE, KINDS, Kind, Stuck, held_by, judged

MOST = 1_000
"""Of one kind, that are looked at: those without change the longest."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A webhook that is not final."""

    event_id: str
    number: int
    source: str
    event_type: str
    correlation_id: str
    received_at: datetime
    outcome: str
    open: int


@dataclass(frozen=True, slots=True)
class Counts:
    """overdue: at most MOST, which then means that many or more; undoing: of these, those that are being undone.
    oldest_received_at: of a webhook that is not final; oldest_unrouted_at: of one that no router took up."""

    failed: int
    suspended: int
    overdue: int
    undoing: int
    held: int
    oldest_received_at: datetime | None
    oldest_unrouted_at: datetime | None

    def of(self, kind: Kind) -> int:
        count: int = getattr(self, kind)
        return count


def load_stuck_queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("stuck.sql"), "asyncpg")


class StuckWork:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables."""

    def __init__(self, pool: asyncpg.Pool, queries: Any) -> None:
        self._pool = pool
        self._queries = queries

    async def find(
        self, now: datetime, kinds: Collection[Kind] = KINDS, name: str | None = None, most: int = MOST
    ) -> list[Stuck]:
        """Of each kind the `most` without change the longest, in the order of the kinds. name: of the saga."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                paused = {(row["kind"], row["name"]) for row in await self._rows(connection, "pauses")}
                found: list[Stuck] = []
                for kind in (each for each in KINDS if each in kinds):
                    runs = await self._runs(connection, kind, name, now, most)
                    definitions = await self._definitions(connection, runs) if kind == "overdue" else {}
                    judgements = (
                        judged(run, definitions.get((run.name, run.version)), now, held_by(run, paused))
                        for run in runs
                    )
                    found += [stuck for stuck in judgements if stuck is not None and stuck.kind == kind]
                return found

    async def counts(self, now: datetime) -> Counts:
        overdue = await self.find(now, ["overdue"])
        undoing = sum(stuck.run.undoing for stuck in overdue)
        with reaching_database():
            async with self._pool.acquire() as connection:
                row = await self._queries.stuck_counts(connection)
                return Counts(overdue=len(overdue), undoing=undoing, **row)

    async def oldest_webhooks(self, most: int) -> list[Waiting]:
        with reaching_database():
            async with self._pool.acquire() as connection:
                return [Waiting(**row) for row in await self._rows(connection, "oldest_webhooks", limit=most)]

    async def _runs(
        self, connection: asyncpg.Connection, kind: Kind, name: str | None, now: datetime, most: int
    ) -> list[Run]:
        before = now - GRACE
        rows = await self._rows(connection, "stuck_runs", kind=kind, name=name, before=before, limit=most)
        return [run_of(row) for row in rows]

    async def _definitions(
        self, connection: asyncpg.Connection, runs: Sequence[Run]
    ) -> dict[tuple[str, int], SagaDefinition]:
        keys = sorted({(run.name, run.version) for run in runs})
        names, versions = [name for name, _ in keys], [version for _, version in keys]
        rows = await self._rows(connection, "definitions_of", names=names, versions=versions)
        found = [SagaDefinition.model_validate_json(row["definition"]) for row in rows]
        return {(each.name, each.version): each for each in found}

    async def _rows(
        self, connection: asyncpg.Connection, query: str, **parameters: Any
    ) -> list[Mapping[str, Any]]:
        return [row async for row in getattr(self._queries, query)(connection, **parameters)]
