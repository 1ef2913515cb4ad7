"""`GET /api/v1/stream` (api.md §4): what happens to tasks, as server-sent events, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.positions import Places, read_places, written
from sagahook_tracker.feed import Feed, Told, Wanted
from sagahook_tracker.operator_bodies import Word
from sagahook_tracker.tasks import Tasks
from sagahook_tracker.tasks_api import no_such_task

_RECONNECT_MS = 1_000

_EXAMPLE = (
    "retry: 1000\nid: 0:1041,1:977\n\n"
    'id: 0:1042,1:977\ndata: {"task_id":"6f…","status":"completed","progress":1.0,…}\n\n'
)


def stream_routes(feed: Callable[[], Feed], tasks: Callable[[], Tasks], guard: Guard) -> APIRouter:
    """feed, tasks: asked for at each request. guard: refuses callers."""
    router = APIRouter(prefix="/api/v1", tags=["status"], dependencies=[Depends(guard)])

    @router.get(
        "/stream",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {"example": _EXAMPLE}}},
            404: {"description": "No such task", "model": ErrorBody},
        },
    )
    async def stream_events(
        last_event_id: Annotated[
            str | None,
            Header(max_length=2_000, description="go on after this event: none is missed or repeated"),
        ] = None,
        after: Annotated[
            str | None,
            Query(
                max_length=2_000, description="as Last-Event-ID, for a first connection: a `stream_position`"
            ),
        ] = None,
        task_id: Annotated[Word | None, Query(description="of this task alone")] = None,
        correlation_id: Annotated[Word | None, Query(description="of what came in under it")] = None,
        task_type: Annotated[Word | None, Query(description="of sagas of this name")] = None,
    ) -> StreamingResponse:
        """Each event's data is an entry of `/api/v1/status/events/recent`. Without a place to begin, from now on."""
        places = _places("header.Last-Event-ID", last_event_id)
        if places is None:
            places = _places("query.after", after)
        with not_yet():
            wanted = await _wanted(tasks(), task_id, correlation_id, task_type)
            events = feed().follow(places, wanted)
            first = await anext(events)  # while it can still be refused
        return StreamingResponse(
            _lines(first, events),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


async def _wanted(
    tasks: Tasks, task_id: str | None, correlation_id: str | None, task_type: str | None
) -> Wanted:
    """An event's sagas may not be known yet: what stands for an event is watched by its correlation id."""
    if task_id is None:
        return Wanted(None, correlation_id, task_type)
    found = await tasks.find(task_id)
    if found is None:
        raise no_such_task(task_id)
    if found.event is not None and not found.final:
        return Wanted(None, found.correlation_id, task_type)
    return Wanted(frozenset(found.saga_ids), correlation_id, task_type)


async def _lines(
    first: tuple[Places, Told | None], events: AsyncIterator[tuple[Places, Told | None]]
) -> AsyncIterator[bytes]:
    async with aclosing(events):  # type: ignore[type-var]  # follow is a generator
        yield b"retry: %d\n" % _RECONNECT_MS + _event(*first)
        async for event in events:
            yield _event(*event)


def _event(places: Places, told: Told | None) -> bytes:
    """Without data it is no event to the reader, who keeps its id all the same (HTML, §9.2.6)."""
    data = b"" if told is None else b"data: " + told.body + b"\n"
    return b"id: " + written(places).encode() + b"\n" + data + b"\n"


def _places(where: str, given: str | None) -> dict[int, int] | None:
    if not given:
        return None
    places = read_places(given)
    if places is None:
        raise ApiError(400, f"{where}: give the id of an event of this stream, as it is")
    return places
