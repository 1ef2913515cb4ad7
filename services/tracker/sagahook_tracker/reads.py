"""The parts behind the routes of api.md §3, §4 and §7, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
from fastapi import FastAPI

from sagahook.runtime.acts import Acts
from sagahook.runtime.audit import Audit
from sagahook.runtime.clock import Clock
from sagahook.runtime.keys import Access
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_COMMANDS
from sagahook_tracker.adapters.command_log import CommandLog
from sagahook_tracker.adapters.event_reading import EventReading
from sagahook_tracker.adapters.history_reading import HistoryReading
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.reading import Reading
from sagahook_tracker.adapters.records_at import RecordsAt
from sagahook_tracker.adapters.task_reading import TaskReading
from sagahook_tracker.adapters.views import Views
from sagahook_tracker.answers import Answers
from sagahook_tracker.domain.positions import Places
from sagahook_tracker.events import Events
from sagahook_tracker.events_api import event_routes
from sagahook_tracker.feed import Feed, Load, Told, Wanted
from sagahook_tracker.history_api import history_routes, recent_json
from sagahook_tracker.operating import Operating
from sagahook_tracker.settings import TrackerSettings
from sagahook_tracker.stream_api import stream_routes
from sagahook_tracker.summary_api import summary_routes
from sagahook_tracker.tasks import Tasks
from sagahook_tracker.tasks_api import task_routes


@dataclass(frozen=True, slots=True)
class Reads:
    events: Events
    tasks: Tasks
    feed: Feed
    news: News

    def dismiss(self) -> None:
        """Answer now whoever waits or watches: the process is to end."""
        self.news.dismiss()
        self.feed.close()


@asynccontextmanager
async def open_reads(
    settings: TrackerSettings,
    pool: asyncpg.Pool,
    views: Views,
    news: News,
    answers: Answers,
    operating: Operating,
    records: RecordsAt,
    audit: Audit,
    clock: Clock,
) -> AsyncIterator[Reads]:
    reading = Reading(pool, load_queries("reading.sql"))
    events, history = EventReading(reading), HistoryReading(reading)
    sagas_topic = settings.topic(SAGA_EVENTS)
    commands = CommandLog(settings.kafka, settings.topic_prefix, settings.topic(WEBHOOKS_COMMANDS))
    tasks = Tasks(answers, views, news, TaskReading(reading), events, history, operating, clock, sagas_topic)
    feed = Feed(news, sagas_topic, _load_from(history))
    telling = asyncio.create_task(feed.run(), name="feed")
    try:
        yield Reads(Events(answers, events, records, commands, Acts(audit)), tasks, feed, news)
    finally:
        feed.close()
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        await commands.close()


def add_read_routes(
    app: FastAPI, access: Access, reads: Callable[[], Reads], clean_up: Callable[[], str]
) -> None:
    """reads: asked for at each request. clean_up: see summary_routes."""
    reader, operator, admin = access.needs("reader"), access.needs("operator"), access.needs("admin")
    app.include_router(event_routes(lambda: reads().events, reader, operator))
    app.include_router(task_routes(lambda: reads().tasks, reader, operator))
    app.include_router(history_routes(lambda: reads().tasks, reader))
    app.include_router(stream_routes(lambda: reads().feed, lambda: reads().tasks, reader))
    app.include_router(summary_routes(lambda: reads().tasks, clean_up, reader, admin))


def _load_from(history: HistoryReading) -> Load:
    async def load(places: Places, how_many: int, wanted: Wanted) -> list[Told]:
        saga_ids = None if wanted.saga_ids is None else list(wanted.saga_ids)
        found = await history.after(places, how_many, saga_ids, wanted.correlation_id, wanted.task_type)
        return [
            Told(
                partition=each.number & 0xFFFF,
                offset=each.number >> 16,
                saga_id=each.saga_id,
                correlation_id=each.correlation_id,
                task_type=each.name or "",
                body=recent_json(each),
            )
            for each in found
        ]

    return load
