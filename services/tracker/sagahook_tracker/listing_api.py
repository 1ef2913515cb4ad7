"""`GET /api/v1/sagas`: which sagas there are, for operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from orjson import JSONDecodeError, loads
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.finding import Finder
from sagahook_tracker.api import ParentBody, not_yet
from sagahook_tracker.domain.operating import Filter
from sagahook_tracker.domain.positions import Position
from sagahook_tracker.domain.runs import Run, State
from sagahook_tracker.operator_bodies import Time, Word
from sagahook_tracker.tagging import Tagged

MOST_ATTRIBUTES = 5


class SagaSummary(BaseModel):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    progress: float
    failed_step: str | None
    error: str | None = Field(description="why it did not succeed, or why it is suspended")
    cause: str | None
    unresolved: list[str]
    attributes: dict[str, JsonValue]
    source: str | None
    parent: ParentBody | None
    correlation_id: str | None
    started_at: AwareDatetime | None
    updated_at: AwareDatetime | None
    finished_at: AwareDatetime | None


class SagaPage(BaseModel):
    sagas: list[SagaSummary] = Field(description="by their newest run, those that started last first")
    next_cursor: str | None = Field(description="where to go on; null at the end")


class ListQuery(BaseModel):
    state: list[State] = Field(default=[])
    name: Word | None = None
    version: int | None = Field(default=None, ge=1, le=2**31)
    cause: Word | None = None
    source: Word | None = None
    attribute: list[Word] = Field(
        default=[], max_length=MOST_ATTRIBUTES, description="key:value; several must all hold"
    )
    started_before: Time | None = None
    started_after: Time | None = None
    limit: int = Field(default=50, ge=1, le=1_000)
    cursor: str | None = Field(default=None, max_length=200)

    def filter(self) -> Filter:
        return Filter(
            states=tuple(self.state),
            name=self.name,
            version=self.version,
            cause=self.cause,
            source=self.source,
            attributes=alternatives(self.attribute),
            started_before=self.started_before,
            started_after=self.started_after,
        )


def listing_routes(finder: Callable[[], Finder], guard: Guard) -> APIRouter:
    """finder: asked for at each request. guard: a dependency that refuses callers."""
    errors = {400: "A malformed parameter", 401: "No key", 403: "A wrong key", 503: "PostgreSQL is away"}
    router = APIRouter(
        prefix="/api/v1",
        tags=["operating"],
        dependencies=[Depends(guard)],
        route_class=Tagged,
        responses={code: {"description": text, "model": ErrorBody} for code, text in errors.items()},
    )

    @router.get("/sagas")
    async def list_sagas(query: Annotated[ListQuery, Query()]) -> SagaPage:
        """The sagas that match everything that is asked for."""
        after = None if query.cursor is None else Position.from_cursor(query.cursor)
        if query.cursor is not None and after is None:
            raise ApiError(400, "query.cursor: give the next_cursor of an earlier answer, as it is")
        with not_yet():
            runs, more = await finder().runs(query.filter(), query.limit, after)
        return SagaPage(
            sagas=[_summary(run) for run in runs], next_cursor=None if more is None else more.cursor()
        )

    return router


def alternatives(pairs: list[str]) -> tuple[dict[str, JsonValue], ...]:
    """A value may stand in the attributes as the text that it is, or as the JSON that it reads as: `42`, `true`."""
    readings: list[list[tuple[str, JsonValue]]] = []
    for pair in dict.fromkeys(pairs):
        key, colon, value = pair.partition(":")
        if not (key and colon):
            raise ApiError(400, f"query.attribute: {pair!r} is not of the form key:value")
        readings.append([(key, reading) for reading in _readings(value)])
    return tuple(_together(each) for each in product(*readings)) if readings else ()


def _together(pairs: Iterable[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """What has all of them. One word is not another: only a list could be two."""
    asked: defaultdict[str, list[JsonValue]] = defaultdict(list)
    for key, reading in pairs:
        if reading not in asked[key]:
            asked[key].append(reading)
    return {key: found[0] if len(found) == 1 else found for key, found in asked.items()}


def _readings(value: str) -> list[JsonValue]:
    try:
        as_json = loads(value)
    except JSONDecodeError:
        return [value]
    return [value, as_json] if isinstance(as_json, bool | int | float) else [value]


def _summary(run: Run) -> SagaSummary:
    return SagaSummary(
        saga_id=run.saga_id,
        run=run.run,
        name=run.name,
        version=run.version,
        state=run.state,
        progress=run.progress,
        failed_step=run.failed_step,
        error=run.reason or run.error,
        cause=run.cause,
        unresolved=list(run.unresolved),
        attributes=run.attributes or {},
        source=run.source,
        parent=None if run.parent is None else ParentBody.model_validate(run.parent, from_attributes=True),
        correlation_id=run.correlation_id,
        started_at=run.started_at,
        updated_at=run.updated_at,
        finished_at=run.finished_at,
    )
