"""Reads webhooks and how they stand."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from orjson import loads

from sagahook_schemas.webhooks import RoutedSaga
from sagahook_tracker.adapters.reading import Reading, Row
from sagahook_tracker.domain.positions import Position


@dataclass(frozen=True, slots=True)
class EventFilter:
    """None: any. task_id: the saga that they asked for. received_before, received_after: exclusive."""

    event_type: str | None = None
    processed: bool | None = None
    source: str | None = None
    correlation_id: str | None = None
    delivery_id: str | None = None
    task_id: str | None = None
    received_before: datetime | None = None
    received_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """A webhook as a list shows it. error_message: why it, or a saga of it, failed."""

    number: int
    event_id: str
    source: str
    event_type: str
    correlation_id: str
    delivery_id: str | None
    received_at: datetime
    processed: bool
    error_message: str | None


@dataclass(frozen=True, slots=True)
class WholeEvent(EventRow):
    """headers: None where none were kept. outcome: see migration 0004. reason: why it was ignored or failed. sagas:
    that its newest route asked for."""

    task_id: str | None
    content_type: str | None
    size: int | None
    headers: dict[str, str] | None
    outcome: str | None
    reason: str | None
    routed_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    retry_count: int
    sagas: tuple[RoutedSaga, ...]


class EventReading:
    """Raises what Reading does."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def page(
        self, wanted: EventFilter, how_many: int, skip: int, after: Position | None
    ) -> tuple[list[EventRow], Position | None]:
        """The newest first, and where to go on, None at the end."""
        parameters = asdict(wanted) | {
            "after_time": None if after is None else after.time,
            "after_number": None if after is None else after.number,
            "skip": skip,
            "how_many": how_many + 1,
        }
        query = "find_events"
        if wanted.processed is False:
            query = "find_open_events"
            del parameters["processed"]
        rows = await self._reading.page(query, **parameters)
        page = rows[:how_many]
        more = Position(page[-1]["position"], page[-1]["number"]) if len(rows) > how_many else None
        return [_event(row) for row in page], more

    async def one(self, id: str) -> WholeEvent | None:
        """By its event id or its number in digits."""
        number = int(id) if id.isascii() and id.isdigit() and len(id) < 19 else None
        row = await self._reading.first(
            "one_event", event_id=None if number is not None else id, number=number
        )
        return None if row is None else _whole_event(row)

    async def of_task(self, task_id: str) -> WholeEvent | None:
        """The event that the task id stands for: its event id, or the id that GitHub's endpoint answered."""
        row = await self._reading.first("event_of_task", task_id=task_id)
        return None if row is None else await self.one(row["event_id"])


def _event(row: Row) -> EventRow:
    return EventRow(**{name: row[name] for name in EventRow.__slots__})


def _whole_event(row: Row) -> WholeEvent:
    failed = row["outcome"] in ("failed", "completed_with_failures")
    own = {name: row[name] for name in EventRow.__slots__ if name != "error_message"}
    further = {name: row[name] for name in WholeEvent.__slots__ if name not in ("headers", "sagas")}
    return WholeEvent(
        **own,
        **further,
        error_message=(row["saga_error"] or row["reason"] or row["route_error"]) if failed else None,
        headers=None if row["headers"] is None else loads(row["headers"]),
        sagas=tuple(RoutedSaga(**saga) for saga in loads(row["sagas"] or "[]")),
    )
