"""Reads the views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from orjson import loads

from sagahook.runtime.database import reaching_database
from sagahook_schemas.definitions import ControlSet, SagaDefinition
from sagahook_tracker.adapters.rows import offsets_of, run_of, steps_of
from sagahook_tracker.domain.deployment import DeployedVersion, Deployment
from sagahook_tracker.domain.runs import Run
from sagahook_tracker.domain.status import EventView, SagaView
from sagahook_tracker.domain.stuck import held_by


@dataclass(frozen=True, slots=True)
class RunView:
    """correlation_ids: under which the run was asked for, the first 100; a child's are its parent's. held_by: the
    pause that holds it: `definition order` or `source shop`."""

    run: Run
    correlation_ids: tuple[str, ...]
    held_by: str | None = None


class Views:
    """Every method raises Unavailable while PostgreSQL is away, and NotMigrated where it has no tables."""

    def __init__(self, pool: asyncpg.Pool, queries: Any, topics: Iterable[str]) -> None:
        self._pool = pool
        self._queries = queries
        self._topics = list(topics)

    async def offsets(self) -> dict[TopicPartition, int]:
        """What the views stand for: the next offset of each partition."""
        rows = await self._rows(self._queries.load_offsets, topics=self._topics)
        return offsets_of(rows)

    async def events(self, source: str, correlation_id: str) -> list[EventView]:
        """The webhooks of the correlation id; none where it is unknown."""
        rows = await self._rows(self._queries.webhook_status, source=source, correlation_id=correlation_id)
        return [_event(list(group)) for _, group in groupby(rows, key=lambda row: row["event_id"])]

    async def newest_run(self, saga_id: str) -> RunView | None:
        rows = await self._rows(self._queries.saga_status, saga_id=saga_id)
        for row in rows:
            fields = dict(row)
            correlation_ids = tuple(fields.pop("asked_under"))
            run = run_of(fields)
            asked_by_a_saga = (run.correlation_id,) if run.correlation_id else ()
            return RunView(run, correlation_ids or asked_by_a_saga, await self._pause_of(run))
        return None

    async def _pause_of(self, run: Run) -> str | None:
        if not run.held:
            return None
        controls = await self._rows(self._queries.load_controls)
        return held_by(run, [(each["kind"], each["name"]) for each in controls if each["paused"]])

    async def definition(self, name: str, version: int | None) -> SagaDefinition | None:
        """The version, or where it is None the newest one; None where it is not deployed."""
        for row in await self._rows(self._queries.load_definition, name=name, version=version):
            return SagaDefinition.model_validate_json(row["definition"])
        return None

    async def deployment(self) -> Deployment:
        """Every version that is deployed, and what operators paused."""
        versions = await self._rows(self._queries.load_definitions)
        controls = await self._rows(self._queries.load_controls)
        return Deployment(
            (
                DeployedVersion(SagaDefinition.model_validate_json(row["definition"]), row["deployed_at"])
                for row in versions
            ),
            (ControlSet.model_validate({**row, "at": row["set_at"]}) for row in controls),
        )

    async def _rows(self, query: Any, **parameters: Any) -> list[Mapping[str, Any]]:
        with reaching_database():
            async with self._pool.acquire() as connection:
                return [row async for row in query(connection, **parameters)]


def _event(rows: list[Mapping[str, Any]]) -> EventView:
    """From one row for each run of the event, the newest run of a saga last."""
    first = rows[0]
    sagas = {
        asked["saga_id"]: SagaView(asked["saga_id"], asked["name"]) for asked in loads(first["sagas"] or "[]")
    }
    for row in rows:
        if row["saga_id"] is not None:
            sagas[row["saga_id"]] = SagaView(
                saga_id=row["saga_id"],
                name=row["name"],
                run=row["run"],
                state=row["state"],
                error=row["suspended_because"] or row["error"],
                steps=steps_of(row["steps"]),
            )
    return EventView(
        event_id=first["event_id"],
        outcome=first["outcome"],
        reason=first["reason"],
        sagas=tuple(sagas.values()),
        lost_routes=len(loads(first["errors"] or "[]")),
    )
