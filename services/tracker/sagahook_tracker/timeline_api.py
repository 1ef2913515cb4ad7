"""`GET /api/v1/correlations/{id}/timeline`, and the same for events, sagas and outbound deliveries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.timeline_rows import RunSummary
from sagahook_tracker.adapters.timelines import What
from sagahook_tracker.api import LONGEST_WAIT, ParentBody, not_yet
from sagahook_tracker.domain.chapters import Cursor
from sagahook_tracker.domain.redaction import redacted_fields, redacted_text
from sagahook_tracker.domain.runs import State
from sagahook_tracker.domain.status import Status
from sagahook_tracker.domain.timeline import Told
from sagahook_tracker.tagging import Tagged
from sagahook_tracker.telling import Payload, Telling, Timeline


class PayloadBody(BaseModel):
    size: int | None = Field(description="bytes, as it stands in the log")
    content_type: str | None
    value: JsonValue = Field(
        description="the whole, without secrets; null where it is longer than `excerpt` allows"
    )
    excerpt: str | None = Field(description="its beginning, where it is longer or is no JSON")
    missing: str | None = Field(description="why there is neither: the log has it no longer, Kafka is away")


class EntryBody(BaseModel):
    id: str = Field(description="topic/partition/offset of its record; stable")
    at: AwareDatetime
    type: str = Field(description="webhook.received, webhook.routed, saga.*, step.*, delivery.*")
    correlation_id: str
    event_id: str | None = Field(description="of the webhook that it is, or that asked for the saga")
    saga_id: str | None
    run: int | None
    sequence: int | None
    name: str | None = Field(description="of the saga, the source, or the endpoint")
    step: str | None
    phase: Literal["action", "compensation", "prepare"] | None
    attempt: int | None
    delivery_id: str | None
    status: str | None = Field(
        description="a saga's state after it; what came of a route or a delivery's attempt"
    )
    message: str | None
    error: str | None
    duration_ms: float | None = Field(
        description="of an attempt that ended; of a saga that ended, since its start"
    )
    waited_ms: float | None = Field(description="since the last of those that it followed from")
    trace_id: str | None
    traceparent: str | None
    caused_by: list[str] = Field(description="ids of what it followed from, where that is told too")
    details: dict[str, Any] = Field(description="the event's small fields")
    payload: PayloadBody | None = Field(description="null with excerpt=0")


class RunBody(BaseModel):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    held: bool = Field(description="PENDING, because its definition or its source is paused")
    error: str | None
    parent: ParentBody | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    duration_ms: float | None
    untold: int = Field(
        description="how many of its first events are only in the log: see `sagahook history`"
    )


class DeliveryBody(BaseModel):
    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    status: str = Field(description="retrying, delivered, exhausted or failed")
    attempts: int
    status_code: int | None
    error: str | None
    next_attempt_at: AwareDatetime | None


class TimelineBody(BaseModel):
    what: What = Field(description="what the id names")
    id: str
    status: Status = Field(description="as of GET /webhooks/{source}/status/…")
    message: str
    final: bool = Field(description="nothing more happens to its sagas, unless an operator asks for it")
    entries: list[EntryBody] = Field(description="none before what brought it about; else by their times")
    more: bool = Field(description="ask again with next_cursor at once")
    next_cursor: str = Field(description="where to go on, also when there is nothing further yet")
    runs: list[RunBody] = Field(description="of the sagas, those below them too")
    deliveries: list[DeliveryBody] = Field(description="of outbound webhooks about them")
    bounded: bool = Field(
        description="there are too many webhooks, sagas or deliveries to tell of all of them"
    )


class TimelineQuery(BaseModel):
    limit: int = Field(default=100, ge=1, le=500)
    cursor: str | None = Field(
        default=None, max_length=6_000, description="the next_cursor of an earlier answer"
    )
    excerpt: int = Field(default=1_024, ge=0, le=65_536, description="characters of each payload; 0: none")
    wait: float = Field(
        default=0, ge=0, le=LONGEST_WAIT, description="seconds to wait for something new, or for the end"
    )


Id = Annotated[str, Path(max_length=512)]

_ERRORS = {
    400: "A malformed parameter",
    401: "No key",
    403: "A wrong key",
    404: "Nothing is known by the id",
    503: "PostgreSQL is away, or the views are behind: see Retry-After",
}


def timeline_routes(telling: Callable[[], Telling], guard: Guard) -> APIRouter:
    """telling: asked for at each request. guard: a dependency that refuses callers."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["timeline"],
        dependencies=[Depends(guard)],
        route_class=Tagged,
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    async def tell(thing: str, only: What | None, query: TimelineQuery) -> TimelineBody:
        cursor = Cursor() if query.cursor is None else Cursor.read(query.cursor)
        if cursor is None:
            raise ApiError(400, "query.cursor: give the next_cursor of an earlier answer, as it is")
        found = None
        if "\0" not in thing:
            with not_yet():
                found = await telling().timeline(thing, only, cursor, query.limit, query.excerpt, query.wait)
        if found is None:
            raise ApiError(404, f"Nothing is known by the {_called(only)} {thing!r}: check it")
        return _body(found)

    @router.get("/correlations/{correlation_id}/timeline")
    async def correlation_timeline(
        correlation_id: Id, query: Annotated[TimelineQuery, Query()]
    ) -> TimelineBody:
        """Everything that happened under a correlation id."""
        return await tell(correlation_id, "correlation", query)

    @router.get("/webhooks/events/{event_id}/timeline")
    async def event_timeline(event_id: Id, query: Annotated[TimelineQuery, Query()]) -> TimelineBody:
        """What became of one webhook. Its integer id and its sender's own id are taken too."""
        return await tell(event_id, "event", query)

    @router.get("/sagas/{saga_id}/timeline")
    async def saga_timeline(saga_id: Id, query: Annotated[TimelineQuery, Query()]) -> TimelineBody:
        """All runs of a saga, with the webhooks that asked for them and the sagas below."""
        return await tell(saga_id, "saga", query)

    @router.get("/timelines/{id}")
    async def timeline_of_anything(id: Id, query: Annotated[TimelineQuery, Query()]) -> TimelineBody:
        """By whatever id there is: of a saga, an event, an outbound delivery, or a correlation id."""
        return await tell(id, None, query)

    return router


def _called(only: What | None) -> str:
    return "id" if only is None else {"correlation": "correlation id"}.get(only, f"{only} id")


def _body(found: Timeline) -> TimelineBody:
    return TimelineBody(
        what=found.what,
        id=found.id,
        status=found.standing.status,
        message=found.standing.message,
        final=found.standing.final,
        entries=[_entry(told, found.payloads.get(told.entry.place)) for told in found.told],
        more=found.more,
        next_cursor=found.after.written(),
        runs=[_run(run, found.untold.get(run.key, 0)) for run in found.runs],
        deliveries=[DeliveryBody.model_validate(each, from_attributes=True) for each in found.deliveries],
        bounded=found.bounded,
    )


def _entry(told: Told, payload: Payload | None) -> EntryBody:
    entry = told.entry
    traceparent = entry.traceparent or (payload.traceparent if payload is not None else None)
    return EntryBody(
        id=str(entry.place),
        at=entry.at,
        type=entry.type,
        correlation_id=entry.correlation_id,
        event_id=entry.event_id,
        saga_id=entry.saga_id,
        run=entry.run,
        sequence=entry.sequence,
        name=entry.name,
        step=entry.step,
        phase=entry.phase,
        attempt=entry.attempt,
        delivery_id=entry.delivery_id,
        status=entry.status,
        message=None if entry.message is None else redacted_text(entry.message),
        error=None if entry.error is None else redacted_text(entry.error),
        duration_ms=entry.duration_ms,
        waited_ms=told.waited_ms,
        trace_id=_trace_id(traceparent),
        traceparent=traceparent,
        caused_by=[str(place) for place in told.causes],
        details=redacted_fields(dict(entry.details)),
        payload=None if payload is None else PayloadBody.model_validate(payload, from_attributes=True),
    )


def _run(run: RunSummary, untold: int) -> RunBody:
    took = None
    if run.finished_at is not None and run.started_at is not None:
        took = (run.finished_at - run.started_at).total_seconds() * 1000
    return RunBody(
        saga_id=run.saga_id,
        run=run.run,
        name=run.name,
        version=run.version,
        state=run.state,
        held=run.held,
        error=None if run.error is None else redacted_text(run.error),
        parent=None if run.parent is None else ParentBody.model_validate(run.parent, from_attributes=True),
        started_at=run.started_at,
        finished_at=run.finished_at,
        duration_ms=took,
        untold=untold,
    )


def _trace_id(traceparent: str | None) -> str | None:
    """The second part of a W3C traceparent."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else None
