"""The webhooks that were received, one by one (api.md §3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Calling, Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.event_reading import EventFilter, EventRow, WholeEvent
from sagahook_tracker.api import not_yet
from sagahook_tracker.events import Events, RawBody
from sagahook_tracker.operating import Refused
from sagahook_tracker.operator_bodies import Time, Word
from sagahook_tracker.paging import PageQuery, say_next
from sagahook_tracker.tagging import Tagged
from sagahook_tracker.tasks_api import AskedBy

EventId = Annotated[str, Path(max_length=256, description="its integer id, or its event_id")]


class EventSummary(BaseModel):
    id: int = Field(description="from its position in the log: the same for ever")
    delivery_id: str | None = Field(description="the sender's own id of the delivery, where it has one")
    event_type: str
    processed: bool = Field(description="its status is final")
    created_at: AwareDatetime = Field(description="when it was received")
    error_message: str | None = Field(description="why it, or a saga of it, failed; null where nothing did")
    event_id: str
    source: str
    correlation_id: str


class EventDetails(EventSummary):
    payload: JsonValue = Field(
        description="the body: as JSON where it is JSON, else as text, else (payload_encoding: base64) as base64"
    )
    payload_encoding: Literal["json", "text", "base64"] | None
    headers: dict[str, str] | None = Field(
        description="as they came, without secrets; null where none were kept"
    )
    processing_started_at: AwareDatetime | None = Field(description="when it was routed")
    processing_completed_at: AwareDatetime | None = Field(description="when its status became final")
    retry_count: int = Field(description="how often it was processed again")
    updated_at: AwareDatetime
    content_type: str | None
    size: int | None = Field(description="of the body, in bytes")
    task_id: str | None = Field(description="what GitHub's endpoint answered; it stands for all of task_ids")
    task_ids: list[str] = Field(description="the sagas that it asked for")
    missing: dict[str, str] = Field(
        description="why a field is null for now, or for good, that should not be"
    )


class ReprocessBody(BaseModel):
    status: Literal["reprocessing"] = "reprocessing"
    task_id: str = Field(description="the first of its sagas; it has a new run soon")
    event_id: str
    command_id: str = Field(description="it stands in the events that this causes")


class EventQuery(PageQuery):
    event_type: Word | None = None
    processed: bool | None = None
    source: Word | None = None
    correlation_id: Word | None = None
    delivery_id: Word | None = None
    task_id: Word | None = Field(default=None, description="events that asked for it")
    received_before: Time | None = None
    received_after: Time | None = None

    def filter(self) -> EventFilter:
        return EventFilter(
            event_type=self.event_type,
            processed=self.processed,
            source=self.source,
            correlation_id=self.correlation_id,
            delivery_id=self.delivery_id,
            task_id=self.task_id,
            received_before=self.received_before,
            received_after=self.received_after,
        )


def event_routes(
    events: Callable[[], Events],
    reader: Guard,
    operator: Guard,
) -> APIRouter:
    """events: asked for at each request. reader, operator: refuse other callers."""
    router = APIRouter(prefix="/api/v1/webhooks/events", tags=["events"], route_class=Tagged)
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "No such event", "model": ErrorBody}}

    @router.get("", dependencies=[Depends(reader)])
    async def list_events(
        query: Annotated[EventQuery, Query()], request: Request, response: Response
    ) -> list[EventSummary]:
        """Those that match everything that is asked for, the newest first. The header `Link` says where
        the next page is."""
        after = query.position()
        with not_yet():
            rows, more = await events().page(query.filter(), query.limit, query.offset, after)
        say_next(request, response, more)
        return [_summary(row) for row in rows]

    @router.get("/{id}", dependencies=[Depends(reader)], responses=unknown)
    async def get_event(id: EventId) -> EventDetails:
        """The event with its body, which is read from the log."""
        with not_yet():
            found = await events().one(id)
            body = await events().body(found) if found is not None else None
        if found is None or body is None:
            raise _unknown(id)
        return _details(found, body)

    @router.post(
        "/{id}/reprocess",
        dependencies=[Depends(operator)],
        responses=unknown | {409: {"description": "It is still being processed", "model": ErrorBody}},
    )
    async def reprocess_event(
        id: EventId, caller: Calling, asked_by: Annotated[AskedBy | None, Body()] = None
    ) -> ReprocessBody:
        """Ask its triggers again, and run each saga that they ask for once more, as a new run."""
        who = (asked_by or AskedBy()).who("reprocess_event", caller)
        try:
            with not_yet():
                done = await events().reprocess(id, who)
        except Refused as refused:
            raise ApiError(409, str(refused)) from refused
        if done is None:
            raise _unknown(id)
        return ReprocessBody(task_id=done.task_id, event_id=done.event_id, command_id=done.command_id)

    return router


def _unknown(id: str) -> ApiError:
    return ApiError(404, f"There is no event {id!r}: check the id")


def _summary(row: EventRow) -> EventSummary:
    return EventSummary(
        id=row.number,
        delivery_id=row.delivery_id,
        event_type=row.event_type,
        processed=row.processed,
        created_at=row.received_at,
        error_message=row.error_message,
        event_id=row.event_id,
        source=row.source,
        correlation_id=row.correlation_id,
    )


def _details(row: WholeEvent, body: RawBody) -> EventDetails:
    return EventDetails(
        **_summary(row).model_dump(),
        payload=body.payload,
        payload_encoding=body.encoding,
        headers=row.headers,
        processing_started_at=row.routed_at,
        processing_completed_at=row.completed_at,
        retry_count=row.retry_count,
        updated_at=row.updated_at,
        content_type=row.content_type,
        size=row.size,
        task_id=row.task_id,
        task_ids=[saga.saga_id for saga in row.sagas],
        missing={} if body.missing is None else {"payload": body.missing},
    )
