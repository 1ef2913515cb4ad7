"""How tasks stand and what happened to them (api.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from orjson import OPT_UTC_Z, dumps
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.http_errors import ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.history_reading import Happened
from sagahook_tracker.api import LONGEST_WAIT, not_yet
from sagahook_tracker.domain.positions import written
from sagahook_tracker.domain.runs import TaskStatus
from sagahook_tracker.tagging import Tagged
from sagahook_tracker.tasks import MOST_HISTORY, Task, Tasks
from sagahook_tracker.tasks_api import TaskId, no_such_task

_WEEK = 7 * 24


class TaskStanding(BaseModel):
    task_id: str = Field(description="as it was asked for")
    status: TaskStatus
    progress: float = Field(description="0 to 1")
    message: str | None
    final: bool = Field(description="nothing more happens, unless an operator asks for it")
    error_message: str | None
    created_at: AwareDatetime | None
    started_at: AwareDatetime | None
    updated_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    correlation_id: str | None
    task_ids: list[str] = Field(
        description="the sagas that the id stands for; the status is of all of them together"
    )


class HistoryEntry(BaseModel):
    timestamp: AwareDatetime
    status: TaskStatus = Field(description="after it")
    progress: float | None = Field(description="after it")
    message: str | None
    metadata: dict[str, JsonValue] = Field(
        description="what happened: its `type` (saga.started, step.completed, …), the saga's own `state` after it, its "
        "`step`, `run` and `name`, and what else the event says in a few words"
    )


class RecentEntry(HistoryEntry):
    task_id: str
    id: int = Field(description="from its position in the log")


class TaskHistory(BaseModel):
    task_id: str
    history: list[HistoryEntry] = Field(description="the newest first")
    event_count: int = Field(description="how many there are in this answer")


class RecentEvents(BaseModel):
    events: list[RecentEntry] = Field(description="the newest first")
    count: int
    hours: float
    stream_position: str = Field(description="where /api/v1/stream goes on from here: its `after`")


def history_routes(tasks: Callable[[], Tasks], guard: Guard) -> APIRouter:
    """tasks: asked for at each request. guard: refuses callers."""
    router = APIRouter(
        prefix="/api/v1/status", tags=["status"], dependencies=[Depends(guard)], route_class=Tagged
    )
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "No such task", "model": ErrorBody}}

    # Before the routes that take a task's id: no task is called `events`.
    @router.get("/events/recent")
    async def list_recent_events(
        hours: Annotated[float, Query(gt=0, le=_WEEK, description="how far back")] = 24,
    ) -> RecentEvents:
        """What happened to any task, at most the last hundred events."""
        with not_yet():
            found, places = await tasks().recent(timedelta(hours=hours))
        events = [recent_entry(each) for each in found]
        return RecentEvents(events=events, count=len(events), hours=hours, stream_position=written(places))

    @router.get("/{task_id}", responses=unknown)
    async def get_task_status(
        task_id: TaskId,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for a final status")
        ] = 0,
    ) -> TaskStanding:
        """How far it is."""
        with not_yet():
            found = await tasks().find(task_id, wait)
        if found is None:
            raise no_such_task(task_id)
        return _standing(found)

    @router.get("/{task_id}/history", responses=unknown)
    async def get_task_history(
        task_id: TaskId,
        hours: Annotated[float, Query(gt=0, le=365 * 24, description="how far back")] = _WEEK,
        limit: Annotated[int, Query(ge=1, le=1_000, description="at most so many entries")] = MOST_HISTORY,
    ) -> TaskHistory:
        """What happened to it. The views keep the last events of some days; the log has them all."""
        with not_yet():
            found = await tasks().find(task_id)
            if found is None:
                raise no_such_task(task_id)
            happened = await tasks().history(found, timedelta(hours=hours), limit)
        entries = [HistoryEntry.model_validate(_told(each)) for each in happened]
        return TaskHistory(task_id=task_id, history=entries, event_count=len(entries))

    return router


def recent_entry(happened: Happened) -> RecentEntry:
    return RecentEntry.model_validate(_told(happened) | {"task_id": happened.saga_id, "id": happened.number})


def recent_json(happened: Happened) -> bytes:
    """As `recent_entry` would be, on one line."""
    return dumps(_told(happened) | {"task_id": happened.saga_id, "id": happened.number}, option=OPT_UTC_Z)


def _told(happened: Happened) -> dict[str, Any]:
    return {
        "timestamp": happened.at,
        "status": happened.status,
        "progress": happened.progress,
        "message": happened.message,
        "metadata": {
            "type": happened.type,
            "state": happened.state,
            "run": happened.run,
            "name": happened.name,
            "correlation_id": happened.correlation_id,
        }
        | ({} if happened.step is None else {"step": happened.step})
        | happened.metadata,
    }


def _standing(found: Task) -> TaskStanding:
    runs = [view.run for view in found.runs]
    started = [run.started_at for run in runs if run.started_at is not None]
    updated = [run.updated_at for run in runs if run.updated_at is not None]
    ended = [run.finished_at for run in runs if run.finished_at is not None]
    errors = [run.reason or run.error for run in runs if run.reason or run.error]
    event = found.event
    if event is not None:
        updated.append(event.updated_at)
        ended += [event.completed_at] if event.completed_at is not None else []
    return TaskStanding(
        task_id=found.id,
        status=found.status,
        progress=found.progress,
        message=_message(found),
        final=found.final,
        error_message=next(iter(errors), None if event is None else event.error_message),
        created_at=found.created_at,
        started_at=min(started, default=None),
        updated_at=max(updated, default=found.created_at),
        completed_at=max(ended, default=None) if found.final else None,
        correlation_id=found.correlation_id,
        task_ids=list(found.saga_ids),
    )


def _message(found: Task) -> str | None:
    """What an action said last; else why there is nothing to say."""
    for view in found.runs:
        if view.run.message:
            return view.run.message
    return None if found.event is None else found.event.reason
