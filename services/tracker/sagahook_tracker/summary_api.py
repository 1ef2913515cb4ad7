"""Figures of everything, and the administration (api.md §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from sagahook.runtime.keys import Guard
from sagahook_tracker.adapters.history_reading import Sum
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.runs import TASK_STATUSES, TaskStatus
from sagahook_tracker.tagging import Tagged
from sagahook_tracker.tasks import Tasks

_DAY = timedelta(hours=24)
_FAILED_EVENTS = ("failed", "completed_with_failures")
_FAILED_TASKS = ("rolled_back", "failed")


class Metrics(BaseModel):
    webhook_events_total: int
    workflow_tasks_total: int
    task_executions_total: int = Field(description="attempts of steps that ended")
    tasks_by_status: dict[TaskStatus, int]
    events_by_type: dict[str, int]
    avg_processing_time_ms: float | None = Field(description="of tasks that ended; null before the first has")
    success_rate: float | None = Field(description="0 to 1, of tasks that ended; null before the first has")


class RecentActivity(BaseModel):
    webhooks_24h: int
    tasks_24h: int


class ErrorRates(BaseModel):
    failed_webhooks_24h: int
    failed_tasks_24h: int
    webhook_error_rate: float = Field(description="0 to 1, of the webhooks of the last 24 hours")
    task_error_rate: float = Field(description="0 to 1, of the tasks of the last 24 hours")


class Stats(BaseModel):
    recent_activity: RecentActivity
    error_rates: ErrorRates


class CleanupBody(BaseModel):
    status: Literal["cleanup_triggered"] = "cleanup_triggered"
    task_id: str = Field(description="it stands in the log of what the clean-up did")


def summary_routes(
    tasks: Callable[[], Tasks], clean_up: Callable[[], str], reader: Guard, admin: Guard
) -> APIRouter:
    """tasks: asked for at each request. clean_up: begins what is to be let go, and names it. reader, admin: refuse
    other callers."""
    router = APIRouter(prefix="/api/v1", tags=["figures"], route_class=Tagged)

    @router.get("/metrics", dependencies=[Depends(reader)])
    async def get_metrics() -> Metrics:
        """Since ever, as things are now: a task that was retried and succeeded has succeeded."""
        with not_yet():
            sums = await tasks().totals()
        return _metrics(sums)

    @router.get("/admin/stats", dependencies=[Depends(admin)])
    async def get_stats() -> Stats:
        """What came in and what failed within the last 24 hours."""
        with not_yet():
            sums = await tasks().totals(_DAY)
        webhooks, failed_webhooks = _count(sums, "webhook"), _count(sums, "webhook", _FAILED_EVENTS)
        started, failed = _count(sums, "saga"), _count(sums, "saga", _FAILED_TASKS)
        return Stats(
            recent_activity=RecentActivity(webhooks_24h=webhooks, tasks_24h=started),
            error_rates=ErrorRates(
                failed_webhooks_24h=failed_webhooks,
                failed_tasks_24h=failed,
                webhook_error_rate=failed_webhooks / webhooks if webhooks else 0.0,
                task_error_rate=failed / started if started else 0.0,
            ),
        )

    @router.post("/admin/cleanup", dependencies=[Depends(admin)])
    async def clean_up_views() -> CleanupBody:
        """Let go now of what is older than it is to be kept, instead of at the next time."""
        return CleanupBody(task_id=clean_up())

    return router


def _metrics(sums: Iterable[Sum]) -> Metrics:
    sums = list(sums)
    by_type: dict[str, int] = {}
    for each in sums:
        if each.kind == "webhook" and each.count:
            by_type[each.type] = by_type.get(each.type, 0) + each.count
    by_status: dict[TaskStatus, int] = dict.fromkeys(("pending", "running", "completed", "failed"), 0)
    for state, status in TASK_STATUSES.items():
        by_status[status] += _count(sums, "saga", (state.lower(),))
    ended = by_status["completed"] + by_status["failed"]
    took = sum(each.total_ms for each in sums if each.kind == "saga")
    return Metrics(
        webhook_events_total=_count(sums, "webhook"),
        workflow_tasks_total=_count(sums, "saga"),
        task_executions_total=_count(sums, "attempt"),
        tasks_by_status=by_status,
        events_by_type=by_type,
        avg_processing_time_ms=took / ended if ended else None,
        success_rate=by_status["completed"] / ended if ended else None,
    )


def _count(sums: Iterable[Sum], kind: str, outcomes: tuple[str, ...] | None = None) -> int:
    return sum(
        each.count for each in sums if each.kind == kind and (outcomes is None or each.outcome in outcomes)
    )
