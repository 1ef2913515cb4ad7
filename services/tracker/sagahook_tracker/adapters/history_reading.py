"""Reads what happened to sagas, and sums of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orjson import loads

from sagahook_schemas.identity import record_number
from sagahook_tracker.adapters.reading import Reading, Row
from sagahook_tracker.domain.positions import Places
from sagahook_tracker.domain.runs import State, TaskStatus


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of a saga. type: `saga.started`, `step.completed`, …; status, state, progress: after it."""

    number: int
    saga_id: str
    run: int
    at: datetime
    type: str
    status: TaskStatus
    state: State
    step: str | None
    progress: float | None
    message: str | None
    metadata: dict[str, Any]
    correlation_id: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Sum:
    """kind, outcome: see migration 0004."""

    kind: str
    type: str
    outcome: str
    count: int
    total_ms: int


class HistoryReading:
    """Raises what Reading does."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def of(self, saga_ids: Sequence[str], since: datetime, how_many: int) -> list[Happened]:
        """What happened to the sagas, the newest first."""
        rows = await self._reading.rows(
            "task_history", saga_ids=list(saga_ids), since=since, how_many=how_many
        )
        return [_happened(row) for row in rows]

    async def recent(self, topic: str, since: datetime, how_many: int) -> tuple[list[Happened], Places]:
        """What happened to any saga, the newest first, and how much of the topic saga.events that stands for."""
        rows, places = await self._reading.snapshot(
            ("recent_history", {"topic": topic, "since": since, "how_many": how_many}),
            ("places", {"topic": topic}),
        )
        return [_happened(row) for row in rows], {row["partition"]: row["next_offset"] for row in places}

    async def after(
        self,
        places: Places,
        how_many: int,
        saga_ids: Sequence[str] | None,
        correlation_id: str | None,
        name: str | None,
    ) -> list[Happened]:
        """From the places on, at most so many of each partition, each partition's in its order."""
        rows = await self._reading.page(
            "history_after",
            partitions=list(places),
            numbers=[record_number(partition, offset) for partition, offset in places.items()],
            saga_ids=None if saga_ids is None else list(saga_ids),
            correlation_id=correlation_id,
            name=name,
            how_many=how_many,
        )
        return [_happened(row) for row in rows]

    async def totals(self, since: datetime | None) -> list[Sum]:
        """Since ever, or from that minute on."""
        return [Sum(**dict(row)) for row in await self._reading.page("totals", since=since)]


def _happened(row: Row) -> Happened:
    return Happened(
        **{name: row[name] for name in Happened.__slots__ if name != "metadata"},
        metadata=loads(row["metadata"]),
    )
