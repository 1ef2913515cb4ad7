"""The status routes of api.md §1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated
from sagahook.runtime.http_errors import CORRELATION_ID, ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.views import RunView
from sagahook_tracker.answers import Answers, Behind
from sagahook_tracker.domain.runs import State, StepStatus
from sagahook_tracker.domain.status import Answer, SagaStatus, SagaView, Status
from sagahook_tracker.tagging import Tagged

LONGEST_WAIT = 30.0


class StepBody(BaseModel):
    name: str
    status: StepStatus
    attempts: int = Field(description="of its action, including one that runs")
    error: str | None = Field(description="of the last attempt that failed")


class StepDetails(StepBody):
    compensation_attempts: int
    child_id: str | None = Field(description="the saga that it runs")
    signal: str | None = Field(description="the signal that it waits for")
    due_at: str | None = Field(description="when it goes on by itself")


class ParentBody(BaseModel):
    saga_id: str
    run: int
    step: str


class ActBody(BaseModel):
    what: str
    at: str
    actor: str
    reason: str
    why: str | None = Field(description="why it was refused; null where it was done")
    command_id: str | None


class SagaBody(BaseModel):
    saga_id: str
    name: str
    run: int
    state: State
    steps: list[StepBody] = Field(description="in the order in which they were first scheduled")


class WebhookStatus(BaseModel):
    correlation_id: str
    source: str
    status: Status
    message: str
    final: bool = Field(description="nothing more happens, unless an operator asks for it")
    saga_ids: list[str] = Field(description="the sagas that the event asked for")
    saga_statuses: dict[str, SagaStatus]
    saga_errors: dict[str, str]
    sagas: list[SagaBody] = Field(description="those that have started")


class SagaDetails(BaseModel):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    context: dict[str, JsonValue]
    user_id: str | None
    total_steps: int
    completed_steps: list[str] = Field(description="in the order of completion, also those undone since")
    failed_step: str | None
    error: str | None = Field(description="why it did not succeed, or why it is suspended")
    attempts: int = Field(description="of all its steps and compensations")
    steps: list[StepDetails]
    correlation_ids: list[str] = Field(description="under which it was asked for, the first 100")
    progress: float = Field(
        description="0 to 1: what its actions said, else the share of the steps that are done"
    )
    message: str | None = Field(description="what an action said with its progress")
    cause: str | None = Field(description="the kind of reason that it is suspended for")
    unresolved: list[str] = Field(description="steps whose effects are left behind")
    attributes: dict[str, JsonValue]
    source: str | None
    definition_hash: str | None
    held: str | None = Field(
        description="the pause that holds it while it is PENDING: `definition NAME` or `source NAME`"
    )
    limit_key: str | None = Field(description="what it waits for, or waited for, with others")
    parent: ParentBody | None = Field(description="the step of another saga that it is run by")
    acts: list[ActBody] = Field(description="what operators did to this run, the last 20")
    deadline_at: AwareDatetime | None
    started_at: AwareDatetime | None
    updated_at: AwareDatetime | None
    finished_at: AwareDatetime | None


_ERRORS = {
    400: "A malformed parameter",
    404: "No such id",
    503: "PostgreSQL or Kafka is away, or the views are behind: see Retry-After",
}


def status_routes(answers: Callable[[], Answers], guard: Guard) -> APIRouter:
    """answers: asked for at each request. guard: refuses callers."""
    router = APIRouter(
        prefix="/webhooks",
        tags=["status"],
        dependencies=[Depends(guard)],
        route_class=Tagged,
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    @router.get("/{source}/status/{correlation_id}")
    async def webhook_status(
        source: str,
        correlation_id: Annotated[str, Path(description="that of the POST's answer")],
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for a final status")
        ] = 0,
    ) -> WebhookStatus:
        """What became of everything that `source` sent under the correlation id."""
        found = None
        if CORRELATION_ID.match(correlation_id) and "\0" not in source:
            with not_yet():
                found = await answers().webhook(source, correlation_id, wait)
        if found is None:
            raise ApiError(
                404,
                f"The source {source!r} has sent nothing under the correlation id {correlation_id!r}: check both",
            )
        return _webhook_status(source, correlation_id, found)

    @router.get("/status/{saga_id}")
    async def saga_status(
        saga_id: str,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for a final state")
        ] = 0,
    ) -> SagaDetails:
        """The newest run of a saga."""
        found = None
        if "\0" not in saga_id:
            with not_yet():
                found = await answers().saga(saga_id, wait)
        if found is None:
            raise ApiError(404, f"There is no saga {saga_id!r}: check the id")
        return _saga_details(found)

    return router


@contextmanager
def not_yet() -> Iterator[None]:
    """What keeps the answer away for now, as 503."""
    try:
        yield
    except (Unavailable, NotMigrated) as away:
        raise ApiError(503, f"{away}; ask again soon", retry_after=1) from away
    except Behind as behind:
        raise ApiError(
            503, f"It is not known yet, but may be soon: {behind}", retry_after=1, reason="behind"
        ) from behind


def _webhook_status(source: str, correlation_id: str, found: Answer) -> WebhookStatus:
    return WebhookStatus(
        correlation_id=correlation_id,
        source=source,
        status=found.status,
        message=found.message,
        final=found.final,
        saga_ids=[saga.saga_id for saga in found.sagas],
        saga_statuses={saga.saga_id: saga.status for saga in found.sagas},
        saga_errors={saga.saga_id: saga.error for saga in found.sagas if saga.error is not None},
        sagas=[body for saga in found.sagas if (body := _saga_body(saga)) is not None],
    )


def _saga_body(saga: SagaView) -> SagaBody | None:
    if saga.run is None or saga.state is None:
        return None
    return SagaBody(
        saga_id=saga.saga_id,
        name=saga.name,
        run=saga.run,
        state=saga.state,
        steps=[StepBody.model_validate(step, from_attributes=True) for step in saga.steps],
    )


def _saga_details(found: RunView) -> SagaDetails:
    run = found.run
    return SagaDetails(
        saga_id=run.saga_id,
        run=run.run,
        name=run.name,
        version=run.version,
        state=run.state,
        context=run.context or {},
        user_id=run.user_id,
        total_steps=run.total_steps,
        completed_steps=list(run.completed_steps),
        failed_step=run.failed_step,
        error=run.reason or run.error,
        attempts=run.attempts,
        steps=[StepDetails.model_validate(step, from_attributes=True) for step in run.steps],
        correlation_ids=list(found.correlation_ids),
        progress=run.progress,
        message=run.message,
        cause=run.cause,
        unresolved=list(run.unresolved),
        attributes=run.attributes or {},
        source=run.source,
        definition_hash=run.definition_hash,
        held=found.held_by,
        limit_key=run.limit_key,
        parent=None if run.parent is None else ParentBody.model_validate(run.parent, from_attributes=True),
        acts=[ActBody.model_validate(act, from_attributes=True) for act in run.acts],
        deadline_at=run.deadline_at,
        started_at=run.started_at,
        updated_at=run.updated_at,
        finished_at=run.finished_at,
    )
