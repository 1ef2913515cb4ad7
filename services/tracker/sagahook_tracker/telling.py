"""What happened to something, in order, with what the log holds of each: for people who ask why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orjson import JSONDecodeError, dumps, loads

from sagahook.runtime.batches import Unavailable
from sagahook_schemas.base import JsonValue
from sagahook_schemas.bodies import event_of
from sagahook_schemas.envelope import JSON
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from sagahook_tracker.adapters.log_end import LogEnd
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.records_at import Record, RecordsAt
from sagahook_tracker.adapters.timeline_rows import DeliverySummary, RunSummary
from sagahook_tracker.adapters.timelines import Timelines, What
from sagahook_tracker.answers import CATCH_UP, Behind
from sagahook_tracker.domain.chapters import Cursor, page
from sagahook_tracker.domain.redaction import redacted, redacted_text
from sagahook_tracker.domain.runs import RunKey
from sagahook_tracker.domain.status import Answer, answer
from sagahook_tracker.domain.timeline import Place, Told

PACE = 0.25
"""Seconds between two looks for one who waits: the views change many times a second."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a record holds, without secrets: `value` where it is short enough, else the beginning as text. size: bytes
    as they stand in the log. missing: why neither is there. traceparent: of the record."""

    size: int | None = None
    content_type: str | None = None
    value: JsonValue = None
    excerpt: str | None = None
    missing: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """id: by which it was found. after: where to go on. more: at once; else there is nothing further yet."""

    what: What
    id: str
    standing: Answer
    told: tuple[Told, ...]
    payloads: Mapping[Place, Payload]
    runs: tuple[RunSummary, ...]
    deliveries: tuple[DeliverySummary, ...]
    after: Cursor
    more: bool
    bounded: bool
    untold: Mapping[RunKey, int] = field(default_factory=dict)


class Telling:
    def __init__(self, timelines: Timelines, records: RecordsAt, news: News, log_end: LogEnd) -> None:
        self._timelines = timelines
        self._records = records
        self._news = news
        self._log_end = log_end

    async def timeline(
        self, thing: str, only: What | None, cursor: Cursor, limit: int, excerpt: int, wait: float
    ) -> Timeline | None:
        """What comes after the cursor, as soon as there is something or nothing further will be, or after `wait`
        seconds; None where nothing is known by the id.

        only: what the id must name; None: anything. excerpt: characters of each payload; 0: none is read. Raises
        Unavailable, NotMigrated or Behind.
        """
        deadline = time.monotonic() + wait
        found = await self._find(thing, only)
        if found is None:
            return None
        what, name = found
        while True:
            movements = self._news.movements
            loaded = await self._timelines.load(what, name, cursor)
            told = page(loaded.entries, loaded.parents, cursor, limit)
            standing = answer(loaded.events)
            left = deadline - time.monotonic()
            if told.told or standing.final or left <= 0:
                break
            began = time.monotonic()
            if not await self._news.moves(movements, left):
                deadline = began  # a last look: the time is up, or the process is to end
            await asyncio.sleep(max(0.0, PACE - (time.monotonic() - began)))
        payloads = await self._payloads(told.told, excerpt) if excerpt else {}
        return Timeline(
            what=what,
            id=name,
            standing=standing,
            told=told.told,
            payloads=payloads,
            runs=loaded.runs,
            deliveries=loaded.deliveries,
            after=told.after,
            more=told.more or loaded.more,
            bounded=loaded.bounded,
            untold=loaded.untold,
        )

    async def _find(self, thing: str, only: What | None) -> tuple[What, str] | None:
        """As the log has it now."""
        found = await self._look(thing, only)
        if found is None:
            ends = await self._log_end.now()
            if not await self._news.reaches(ends, CATCH_UP):
                raise Behind(f"the views are {self._news.lag(ends)} records behind the log")
            found = await self._look(thing, only)
        return found

    async def _look(self, thing: str, only: What | None) -> tuple[What, str] | None:
        found = await self._timelines.what_is(thing)
        if only is None or found is None or found[0] == only:
            return found
        # An id may be that of several things: a correlation id is the sender's to choose.
        loaded = await self._timelines.load(only, thing, Cursor())
        return (only, thing) if loaded.entries or loaded.runs else None

    async def _payloads(self, told: Sequence[Told], excerpt: int) -> dict[Place, Payload]:
        places = [each.entry.place for each in told]
        try:
            records = await self._records.read(places)
        except Unavailable as away:
            return dict.fromkeys(places, Payload(missing=str(away)))
        return {place: payload_of(place, records.get(place), excerpt) for place in places}


def payload_of(place: Place, record: Record | None, excerpt: int) -> Payload:
    """excerpt: characters that are shown at most."""
    if record is None:
        return Payload(missing="the log has it no longer")
    headers = dict(record.headers)
    content_type = headers.get("content-type", JSON.encode()).decode(errors="replace")
    body = record.value or b""
    try:
        value = redacted(
            event_of(content_type, body) if place.topic == WEBHOOKS_RECEIVED.base else loads(body)
        )
        text = dumps(value).decode()
    except (JSONDecodeError, ValueError):
        value, text = None, redacted_text(body.decode(errors="replace"))
    whole = len(text) <= excerpt and value is not None
    return Payload(
        size=len(body),
        content_type=content_type,
        value=value if whole else None,
        excerpt=None if whole else text[:excerpt],
        traceparent=_traceparent(headers, value),
    )


def _traceparent(headers: Mapping[str, bytes], value: JsonValue) -> str | None:
    """Of the record itself, or what it carries for its run."""
    if header := headers.get("traceparent"):
        return header.decode(errors="replace")
    told = value.get("traceparent") if isinstance(value, dict) else None
    return told if isinstance(told, str) else None
