"""Sagas as the tasks of api.md §3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sagahook.runtime.acts import Who
from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Caller, Calling, Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_schemas.identity import Phase, idempotency_key
from sagahook_tracker.adapters.task_reading import AttemptRow, TaskFilter, TaskRow
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.runs import TASK_STATUSES, Run, State, TaskStatus
from sagahook_tracker.domain.tasks import number, told, words
from sagahook_tracker.listing_api import MOST_ATTRIBUTES, alternatives
from sagahook_tracker.operating import Refused
from sagahook_tracker.operator_bodies import Word, Words
from sagahook_tracker.paging import PageQuery, say_next
from sagahook_tracker.tagging import Tagged
from sagahook_tracker.tasks import Task, Tasks

TaskId = Annotated[
    str,
    Path(
        max_length=256,
        description="a saga's id; or what GitHub's endpoint answered, or an event's id: then all sagas of the event",
    ),
]


class TaskSummary(BaseModel):
    id: int | None = Field(description="from its position in the log; null until it starts")
    task_id: str = Field(description="the saga's id")
    task_type: str | None = Field(description="the saga's name; null until an event was routed")
    status: TaskStatus
    repository: str | None = Field(
        description="this and the like are search attributes that the saga declares"
    )
    pr_number: int | None
    created_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    error_message: str | None
    codegen_task_url: str | None
    state: State | None = Field(description="the saga's own word; null until it starts")
    run: int | None
    correlation_id: str | None


class Execution(BaseModel):
    """One attempt of a step."""

    id: int = Field(description="from the position of its beginning in the log")
    execution_id: str
    status: str
    started_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    duration_ms: int | None
    error_message: str | None
    run: int
    step: str
    phase: Phase
    attempt: int
    participant: str | None


class TaskDetails(TaskSummary):
    webhook_event_id: int | None = Field(description="of the event that it was started by")
    priority: str | None
    branch: str | None
    commit_sha: str | None
    config: JsonValue = Field(description="what its context has under that name")
    input_data: dict[str, JsonValue] | None = Field(description="its context")
    output_data: JsonValue = Field(description="its result, where it has one")
    started_at: AwareDatetime | None
    retry_count: int = Field(description="further attempts of its steps")
    max_retries: int | None = Field(description="of one step")
    codegen_task_id: str | None
    updated_at: AwareDatetime | None
    attributes: dict[str, JsonValue]
    executions: list[Execution] = Field(
        description="every attempt of every step, of all runs, the first first"
    )
    progress: float
    message: str | None
    task_ids: list[str] = Field(description="all sagas that the id which was asked for stands for")


class RetryBody(BaseModel):
    status: Literal["retrying"] = "retrying"
    task_id: str
    execution_id: str = Field(description="the command's id; it stands in the events that this causes")
    celery_task_id: str = Field(description="the execution_id, for old callers")


class AskedBy(BaseModel):
    model_config = ConfigDict(extra="forbid")

    actor: Word | None = Field(default=None, description="who asks; by default the key's name")
    reason: Words = Field(default="", description="why, in their words")

    def who(self, action: str, caller: Caller) -> Who:
        return Who(action, self.actor or caller.actor or "somebody", self.reason, caller)


class TaskQuery(PageQuery):
    status: TaskStatus | None = Field(default=None, description="of the newest run")
    task_type: Word | None = Field(default=None, description="the saga's name")
    repository: Word | None = Field(default=None, description="by the search attribute of that name")
    correlation_id: Word | None = Field(default=None, description="under which it was started")
    event_id: Word | None = Field(default=None, description="of a webhook that started or joined it")
    attribute: list[Word] = Field(
        default=[], max_length=MOST_ATTRIBUTES, description="key:value; several must all hold"
    )

    def filter(self) -> TaskFilter:
        repository = [] if self.repository is None else [f"repository:{self.repository}"]
        return TaskFilter(
            status=self.status,
            name=self.task_type,
            correlation_id=self.correlation_id,
            event_id=self.event_id,
            attributes=alternatives([*self.attribute, *repository]),
        )


def task_routes(tasks: Callable[[], Tasks], reader: Guard, operator: Guard) -> APIRouter:
    """tasks: asked for at each request. reader, operator: refuse other callers."""
    router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=Tagged)
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "No such task", "model": ErrorBody}}

    @router.get("", dependencies=[Depends(reader)])
    async def list_tasks(
        query: Annotated[TaskQuery, Query()], request: Request, response: Response
    ) -> list[TaskSummary]:
        """Those that match everything that is asked for, by their newest run, the newest first. The header `Link` says
        where the next page is."""
        after = query.position()
        wanted = query.filter()
        with not_yet():
            rows, more = await tasks().page(wanted, query.limit, query.offset, after)
        say_next(request, response, more)
        return [_summary(row) for row in rows]

    @router.get("/{task_id}", dependencies=[Depends(reader)], responses=unknown)
    async def get_task(task_id: TaskId) -> TaskDetails:
        """The newest run of the task, with every attempt. Of an id that stands for several, the first."""
        with not_yet():
            found = await tasks().find(task_id)
            if found is None:
                raise no_such_task(task_id)
            return await _details(tasks(), found)

    @router.post(
        "/{task_id}/retry",
        dependencies=[Depends(operator)],
        responses=unknown | {409: {"description": "It has not failed", "model": ErrorBody}},
    )
    async def retry_task(
        task_id: TaskId, caller: Calling, asked_by: Annotated[AskedBy | None, Body()] = None
    ) -> RetryBody:
        """Run it again from the beginning, as a new run."""
        who = (asked_by or AskedBy()).who("retry_task", caller)
        try:
            with not_yet():
                retried = await tasks().retry(task_id, who)
        except Refused as refused:
            raise ApiError(409, str(refused)) from refused
        if retried is None:
            raise no_such_task(task_id)
        saga_id, command_id = retried
        return RetryBody(task_id=saga_id, execution_id=command_id, celery_task_id=command_id)

    return router


def no_such_task(task_id: str) -> ApiError:
    return ApiError(404, f"There is no task {task_id!r}: check the id")


def _summary(row: TaskRow) -> TaskSummary:
    return TaskSummary(
        id=row.number,
        task_id=row.saga_id,
        task_type=row.name,
        status=row.status,
        repository=words(row.attributes, "repository"),
        pr_number=number(row.attributes, "pr_number"),
        created_at=row.started_at,
        completed_at=row.finished_at,
        error_message=row.error,
        codegen_task_url=row.codegen_task_url,
        state=row.state,
        run=row.run,
        correlation_id=row.correlation_id,
    )


async def _details(tasks: Tasks, found: Task) -> TaskDetails:
    """Of the first of its sagas that has started, else of what will be one, or of the event that asked for none."""
    told = _started(found.runs[0].run) if found.runs else _not_started(found)
    return TaskDetails.model_validate(
        told
        | {
            "correlation_id": found.correlation_id,
            "webhook_event_id": await tasks.event_number(found),
            "max_retries": await tasks.max_retries(found),
            "executions": [
                _execution(told["task_id"], row) for row in await tasks.executions(told["task_id"])
            ],
            "task_ids": list(found.saga_ids),
        }
    )


def _started(run: Run) -> dict[str, Any]:
    row = TaskRow(
        number=run.number,
        saga_id=run.saga_id,
        run=run.run,
        name=run.name,
        state=run.state,
        status=TASK_STATUSES[run.state],
        attributes=run.attributes,
        codegen_task_url=told(run.attributes, run.result, "codegen_task_url"),
        correlation_id=run.correlation_id,
        started_at=run.started_at,
        updated_at=run.updated_at,
        finished_at=run.finished_at,
        error=run.reason or run.error,
    )
    return _summary(row).model_dump() | {
        "priority": words(run.attributes, "priority"),
        "branch": words(run.attributes, "branch"),
        "commit_sha": words(run.attributes, "commit_sha"),
        "config": (run.context or {}).get("config"),
        "input_data": run.context,
        "output_data": run.result,
        "started_at": run.started_at,
        "retry_count": sum(
            _retries(step.attempts) + _retries(step.compensation_attempts) for step in run.steps
        ),
        "codegen_task_id": told(run.attributes, run.result, "codegen_task_id"),
        "updated_at": run.updated_at,
        "attributes": run.attributes or {},
        "progress": run.progress,
        "message": run.message,
    }


def _not_started(found: Task) -> dict[str, Any]:
    event = found.event
    told = dict.fromkeys(TaskDetails.model_fields)
    return told | {
        "task_id": next(iter(found.saga_ids), found.id),
        "task_type": found.name,
        "status": found.status,
        "created_at": found.created_at,
        "completed_at": event.completed_at if event is not None else None,
        "error_message": event.error_message if event is not None else None,
        "retry_count": 0,
        "updated_at": event.updated_at if event is not None else found.created_at,
        "attributes": {},
        "progress": found.progress,
        "message": event.reason if event is not None else None,
    }


def _retries(attempts: int) -> int:
    return max(0, attempts - 1)


def _execution(saga_id: str, row: AttemptRow) -> Execution:
    return Execution(
        id=row.number,
        execution_id=f"{idempotency_key(saga_id, row.run, row.step, row.phase)}/{row.attempt}",
        status=row.status,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_ms=row.duration_ms,
        error_message=row.error,
        run=row.run,
        step=row.step,
        phase=row.phase,
        attempt=row.attempt,
        participant=row.participant,
    )
