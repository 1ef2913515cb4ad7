"""`GET /api/v1/stuck` and `/api/v1/dead-letters`: what does not go on by itself, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from orjson import dumps
from pydantic import BaseModel, Field, JsonValue

from sagahook.runtime.http_errors import ApiError, ErrorBody
from sagahook.runtime.keys import Guard
from sagahook_schemas.base import AwareDatetime
from sagahook_tracker.adapters.dead_letters import DeadTopic
from sagahook_tracker.adapters.stuck import Waiting
from sagahook_tracker.api import not_yet
from sagahook_tracker.domain.dead_letters import DeadLetter
from sagahook_tracker.domain.redaction import redacted_fields, redacted_payload, redacted_text
from sagahook_tracker.domain.runs import State
from sagahook_tracker.domain.stuck import KINDS, Kind, Stuck
from sagahook_tracker.operator_bodies import Word
from sagahook_tracker.watching import Survey, Watching

_EXCERPT = 1_024
"""Characters of a dead letter's value."""


class NextBody(BaseModel):
    what: str
    command: str = Field(description="for a terminal")
    call: str | None = Field(description="the same over HTTP, where there is such a call")


class StuckSaga(BaseModel):
    kind: Kind
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    correlation_id: str | None
    since: AwareDatetime = Field(description="when it came to be so, or when it should have gone on")
    seconds: float = Field(description="since then")
    why: str
    next: NextBody


class WaitingWebhook(BaseModel):
    id: int
    event_id: str
    source: str
    event_type: str
    correlation_id: str
    received_at: AwareDatetime
    status: str
    open_sagas: int


class DeadTopicBody(BaseModel):
    topic: str = Field(description="without the deployment's prefix")
    of: str = Field(description="the topic that its records come from")
    count: int = Field(description="that were not sent to where they came from again")
    exact: bool = Field(description="else there are at most that many")
    oldest_at: AwareDatetime | None


class Counts(BaseModel):
    failed: int
    suspended: int
    overdue: int = Field(description="1000 means that many or more")
    held: int
    dead_letters: int | None = Field(description="null while Kafka does not tell")
    oldest_unprocessed_seconds: float | None = Field(
        description="of a webhook that is not final; null: there is none"
    )
    projection_lag: int | None = Field(
        description="offsets that the views are behind the log; null: not known"
    )


class StuckBody(BaseModel):
    checked_at: AwareDatetime
    counts: Counts
    sagas: list[StuckSaga] = Field(description="by kind, those that wait the longest first")
    oldest_webhooks: list[WaitingWebhook] = Field(description="received, and not final; the first 10")
    dead_letters: list[DeadTopicBody] = Field(description="topics that hold any")


class DeadLetterTopicsBody(BaseModel):
    topics: list[DeadTopicBody]


class DeadLetterBody(BaseModel):
    partition: int
    offset: int
    at: AwareDatetime
    key: str | None
    reason: str
    consumer: str = Field(description="the group that did not take it")
    source: str = Field(description="topic/partition/offset where it stood")
    headers: dict[str, JsonValue]
    size: int
    value: JsonValue = Field(description="where it is JSON and short")
    excerpt: str | None = Field(description="else its beginning")
    redriven_at: AwareDatetime | None = Field(
        default=None, description="when it was sent to where it came from again; null: it was not"
    )


class DeadLettersBody(BaseModel):
    topic: str
    letters: list[DeadLetterBody] = Field(description="the oldest first, some of each partition")
    next_cursor: str | None = Field(description="where to go on; null at the end")


_ERRORS = {
    400: "A malformed parameter",
    401: "No key",
    403: "A wrong key",
    503: "PostgreSQL or Kafka is away: see Retry-After",
}


def stuck_routes(watching: Callable[[], Watching], guard: Guard) -> APIRouter:
    """watching: asked for at each request. guard: a dependency that refuses callers."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["operating"],
        dependencies=[Depends(guard)],
        responses={code: {"description": text, "model": ErrorBody} for code, text in _ERRORS.items()},
    )

    @router.get("/stuck")
    async def list_stuck(
        kind: Annotated[list[Kind] | None, Query(description="by default all")] = None,
        name: Annotated[Word | None, Query(description="of the saga")] = None,
        limit: Annotated[int, Query(ge=1, le=1_000, description="of each kind")] = 100,
    ) -> StuckBody:
        """Sagas that wait for a person or should have gone on, webhooks that wait the longest, dead letters."""
        with not_yet():
            survey = await watching().survey()
            sagas = await watching().stuck.find(survey.at, kind or KINDS, name, limit)
            oldest = await watching().stuck.oldest_webhooks(10)
        return StuckBody(
            checked_at=survey.at,
            counts=_counts(survey),
            sagas=[_saga(each, survey.at) for each in sagas],
            oldest_webhooks=[_waiting(each) for each in oldest],
            dead_letters=[_topic(each) for each in survey.dead_letters or () if each.count],
        )

    @router.get("/dead-letters")
    async def list_dead_letters() -> DeadLetterTopicsBody:
        """The dead-letter topics, the fullest first."""
        with not_yet():
            topics = await watching().dead_letters.topics()
        return DeadLetterTopicsBody(topics=[_topic(each) for each in topics])

    @router.get("/dead-letters/{topic}", responses={404: {"model": ErrorBody}})
    async def read_dead_letters(
        topic: Annotated[str, Path(max_length=200, description="as the list names it")],
        limit: Annotated[int, Query(ge=1, le=200, description="of each partition")] = 50,
        cursor: Annotated[str | None, Query(max_length=2_000)] = None,
    ) -> DeadLettersBody:
        """What consumers could not read or refused, and why; without secrets."""
        after = _after(cursor)
        with not_yet():
            letters = await watching().dead_letters.letters(topic, after, limit)
        if letters is None:
            raise ApiError(
                404, f"There is no dead-letter topic {topic!r}: GET /api/v1/dead-letters names them"
            )
        further = dict(after)
        for letter in letters:
            further[letter.partition] = max(letter.offset, further.get(letter.partition, -1))
        return DeadLettersBody(
            topic=topic,
            letters=[_letter(each) for each in letters],
            next_cursor=_written(further) if letters else None,
        )

    return router


def _after(cursor: str | None) -> dict[int, int]:
    """The last offset that was told, for each partition."""
    pairs = [pair.partition(":") for pair in (cursor or "").split(",") if pair]
    if not all(before.isdecimal() and after.isdecimal() for before, _, after in pairs):
        raise ApiError(400, "query.cursor: give the next_cursor of an earlier answer, as it is")
    return {int(partition): int(offset) for partition, _, offset in pairs}


def _written(after: dict[int, int]) -> str:
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(after.items()))


def _counts(survey: Survey) -> Counts:
    counts = survey.counts
    dead = None if survey.dead_letters is None else sum(topic.count for topic in survey.dead_letters)
    return Counts(
        failed=counts.failed,
        suspended=counts.suspended,
        overdue=counts.overdue,
        held=counts.held,
        dead_letters=dead,
        oldest_unprocessed_seconds=survey.oldest_seconds,
        projection_lag=survey.lag,
    )


def _saga(stuck: Stuck, now: datetime) -> StuckSaga:
    run = stuck.run
    return StuckSaga(
        kind=stuck.kind,
        saga_id=run.saga_id,
        run=run.run,
        name=run.name,
        version=run.version,
        state=run.state,
        correlation_id=run.correlation_id,
        since=stuck.since,
        seconds=(now - stuck.since).total_seconds(),
        why=redacted_text(stuck.why),
        next=NextBody.model_validate(stuck.next, from_attributes=True),
    )


def _waiting(webhook: Waiting) -> WaitingWebhook:
    return WaitingWebhook(
        id=webhook.number,
        event_id=webhook.event_id,
        source=webhook.source,
        event_type=webhook.event_type,
        correlation_id=webhook.correlation_id,
        received_at=webhook.received_at,
        status=webhook.outcome,
        open_sagas=webhook.open,
    )


def _topic(topic: DeadTopic) -> DeadTopicBody:
    return DeadTopicBody.model_validate(topic, from_attributes=True)


def _letter(letter: DeadLetter) -> DeadLetterBody:
    is_json, value = redacted_payload(letter.value)
    text = dumps(value).decode() if is_json else str(value)
    whole = is_json and len(text) <= _EXCERPT
    return DeadLetterBody(
        partition=letter.partition,
        offset=letter.offset,
        at=letter.at,
        key=letter.key,
        reason=redacted_text(letter.reason),
        consumer=letter.consumer,
        source=letter.source,
        headers=redacted_fields(dict(letter.headers)),
        size=len(letter.value),
        value=value if whole else None,
        excerpt=None if whole else text[:_EXCERPT],
        redriven_at=letter.redriven_at,
    )
