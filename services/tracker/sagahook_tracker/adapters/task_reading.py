"""Reads sagas as the tasks of api.md §3."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase
from sagahook_tracker.adapters.queries import by_attributes
from sagahook_tracker.adapters.reading import Reading
from sagahook_tracker.domain.positions import Position
from sagahook_tracker.domain.runs import State, TaskStatus

MOST_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """None or empty: any. event_id: of a webhook that started or joined it. attributes: alternatives, of which one must
    be contained in the task's."""

    status: TaskStatus | None = None
    name: str | None = None
    correlation_id: str | None = None
    event_id: str | None = None
    attributes: tuple[dict[str, JsonValue], ...] = ()


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The newest run of a saga as a list shows it."""

    number: int
    saga_id: str
    run: int
    name: str
    state: State
    status: TaskStatus
    attributes: dict[str, JsonValue] | None
    codegen_task_url: str | None
    correlation_id: str | None
    started_at: datetime | None
    updated_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    number: int
    run: int
    step: str
    phase: Phase
    attempt: int
    started_at: datetime | None
    completed_at: datetime | None
    status: str
    error: str | None
    duration_ms: int | None
    participant: str | None


@dataclass(frozen=True, slots=True)
class AskedSaga:
    """One that a webhook asked for; it may not have started yet."""

    name: str
    event_id: str
    correlation_id: str
    asked_at: datetime


class TaskReading:
    """Raises what Reading does."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def page(
        self, wanted: TaskFilter, how_many: int, skip: int, after: Position | None
    ) -> tuple[list[TaskRow], Position | None]:
        """Those that started last first, and where to go on, None at the end."""
        query, attributes = by_attributes("find_tasks", wanted.attributes)
        parameters = asdict(wanted) | {
            **attributes,
            "after_time": None if after is None else after.time,
            "after_number": None if after is None else after.number,
            "skip": skip,
            "how_many": how_many + 1,
        }
        rows = await self._reading.page(query, **parameters)
        page = rows[:how_many]
        more = Position(page[-1]["position"], page[-1]["number"]) if len(rows) > how_many else None
        return [TaskRow(**{field.name: row[field.name] for field in fields(TaskRow)}) for row in page], more

    async def attempts(self, saga_id: str) -> list[AttemptRow]:
        """Of all its runs, in the order in which they began; at most the last MOST_ATTEMPTS."""
        rows = await self._reading.rows("task_attempts", saga_id=saga_id, how_many=MOST_ATTEMPTS)
        return [AttemptRow(**dict(row)) for row in rows]

    async def asked(self, saga_id: str) -> AskedSaga | None:
        row = await self._reading.first("asked_saga", saga_id=saga_id)
        return None if row is None else AskedSaga(**dict(row))

    async def event_number(self, event_id: str) -> int | None:
        row = await self._reading.first("webhook_number", event_id=event_id)
        return None if row is None else row["number"]
