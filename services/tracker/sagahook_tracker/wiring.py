"""The composition root of the status API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
from fastapi import FastAPI

from sagahook.runtime.audit import Audit
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.database import open_pool
from sagahook.runtime.erasable import KeysInTime
from sagahook.runtime.health import Health, Status, health_routes
from sagahook.runtime.http_errors import install_error_handlers
from sagahook.runtime.keys import Access
from sagahook.runtime.metrics import watch_pool, watch_ready
from sagahook.runtime.starting import tell_started
from sagahook_schemas.topics import (
    SAGA_COMMANDS,
    SAGA_DEFINITIONS,
    SAGA_EVENTS,
    WEBHOOKS_RECEIVED,
)
from sagahook_tracker.adapters.audit_reading import AuditReading
from sagahook_tracker.adapters.command_log import CommandLog
from sagahook_tracker.adapters.dead_letters import DeadLetterTopics
from sagahook_tracker.adapters.drawing import Renderer
from sagahook_tracker.adapters.finding import Finder
from sagahook_tracker.adapters.log_end import LogEnd
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.records_at import RecordsAt
from sagahook_tracker.adapters.schema import view_tables
from sagahook_tracker.adapters.stuck import StuckWork, load_stuck_queries
from sagahook_tracker.adapters.timelines import Timelines, load_timeline_queries
from sagahook_tracker.adapters.views import Views
from sagahook_tracker.answers import Answers
from sagahook_tracker.api import status_routes
from sagahook_tracker.audit_api import audit_routes
from sagahook_tracker.diagram_api import diagram_routes
from sagahook_tracker.erasure_api import add_erasure, following
from sagahook_tracker.listing_api import listing_routes
from sagahook_tracker.openapi import StatusApi
from sagahook_tracker.operating import Operating
from sagahook_tracker.operator_api import operator_routes
from sagahook_tracker.pausing import Pausing
from sagahook_tracker.pausing_api import deployment_routes, pausing_routes
from sagahook_tracker.reads import Reads, add_read_routes, open_reads
from sagahook_tracker.retention import Retention
from sagahook_tracker.settings import TrackerSettings
from sagahook_tracker.stuck_api import stuck_routes
from sagahook_tracker.telling import Telling
from sagahook_tracker.timeline_api import timeline_routes
from sagahook_tracker.watching import Watching


def build_app(settings: TrackerSettings) -> FastAPI:
    """The status API, with `/health` and `/metrics`. Its lifespan opens and closes everything; it starts, and
    answers 503, also while PostgreSQL or Kafka is away. `app.state.health` is its Health; `app.state.dismiss()`
    answers now whoever waits or watches."""
    health = Health()
    watch_ready("tracker-api", health.is_ready)
    clock = SystemClock()
    audit = Audit(settings.kafka, settings.topic_prefix, "tracker", clock)
    opened: list[_Opened] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with following(keys), _open(settings, health, audit, keys) as parts:
            opened.append(parts)
            health.ready = True
            yield
            health.ready = False
            opened.clear()

    def dismiss() -> None:
        for parts in opened:
            parts.reads.dismiss()

    app = StatusApi(lifespan=lifespan)
    app.state.health = health
    app.state.dismiss = dismiss
    install_error_handlers(app)
    app.include_router(health_routes(health))
    access = Access(settings, audit, clock)
    keys = add_erasure(app, settings, access, audit)
    _add_routes(app, settings, access, lambda: opened[0])
    return app


def _add_routes(
    app: FastAPI, settings: TrackerSettings, access: Access, opened: Callable[[], _Opened]
) -> None:
    guard = access.needs("reader") if settings.status_auth else access.everyone()
    app.include_router(status_routes(lambda: opened().answers, guard))
    app.include_router(
        diagram_routes(lambda: opened().answers, lambda: opened().timelines, guard, Renderer())
    )
    app.include_router(listing_routes(lambda: opened().finder, access.needs("reader")))
    app.include_router(deployment_routes(lambda: opened().answers, access.needs("reader")))
    app.include_router(pausing_routes(lambda: opened().pausing, access.needs("operator")))
    app.include_router(timeline_routes(lambda: opened().telling, access.needs("reader")))
    add_read_routes(
        app,
        access,
        lambda: opened().reads,
        lambda: opened().retention.trigger(),  # noqa: PLW0108  # nothing is opened yet
    )
    app.include_router(stuck_routes(lambda: opened().watching, access.needs("reader")))
    app.include_router(operator_routes(lambda: opened().operating, access.needs("operator")))
    app.include_router(audit_routes(lambda: opened().audit, access.needs("admin")))


@dataclass(frozen=True, slots=True)
class _Opened:
    answers: Answers
    finder: Finder
    operating: Operating
    pausing: Pausing
    timelines: Timelines
    telling: Telling
    watching: Watching
    reads: Reads
    audit: AuditReading
    retention: Retention


@asynccontextmanager
async def _open(
    settings: TrackerSettings, health: Health, audit: Audit, keys: KeysInTime
) -> AsyncIterator[_Opened]:
    pool = await open_pool(settings, clean_up=False)
    watch_pool("tracker-api", pool)
    queries = load_queries()
    views = Views(pool, queries, settings.topics)
    finder = Finder(pool, queries)
    news = News(settings.dsn, views.offsets)
    asked_about = [settings.topic(topic) for topic in (WEBHOOKS_RECEIVED, SAGA_EVENTS, SAGA_DEFINITIONS)]
    log_end = LogEnd(settings.kafka, settings.topic_prefix, asked_about)
    commands = CommandLog(settings.kafka, settings.topic_prefix, settings.topic(SAGA_COMMANDS))
    pauses = CommandLog(settings.kafka, settings.topic_prefix, settings.topic(SAGA_DEFINITIONS))
    answers = Answers(views, news, log_end, *asked_about)

    async def postgresql() -> Status:
        return "healthy" if news.listening else "degraded"

    health.add("postgresql", postgresql, needed=True)
    starting = asyncio.create_task(
        tell_started(health, settings, pool, view_tables(settings.topics), asyncio.Event()), name="starting"
    )
    listening = asyncio.create_task(news.run(), name="news")
    warming = asyncio.create_task(_warm(log_end), name="log-end-warm-up")
    auditing = asyncio.create_task(audit.run(), name="audit")
    records = RecordsAt(settings.kafka, settings.topic_prefix, keys)
    timelines = Timelines(pool, load_timeline_queries())
    telling = Telling(timelines, records, news, log_end)
    watching = _watching(settings, pool, news, log_end)
    looking = asyncio.create_task(watching.run(), name="stuck-work")
    retention = _retention(settings, pool)
    try:
        operating = Operating(answers, views, finder, commands, audit)
        async with open_reads(
            settings, pool, views, news, answers, operating, records, audit, SystemClock()
        ) as reads:
            yield _Opened(
                answers,
                finder,
                operating,
                Pausing(answers, pauses, audit),
                timelines,
                telling,
                watching,
                reads,
                AuditReading(pool),
                retention,
            )
    finally:
        await retention.close()
        for task in (starting, listening, warming, auditing, looking):
            await _ended(task)
        await commands.close()
        await pauses.close()
        await log_end.close()
        await records.close()
        await pool.close()


def _watching(settings: TrackerSettings, pool: asyncpg.Pool, news: News, log_end: LogEnd) -> Watching:
    async def lag() -> int:
        return news.lag(await log_end.now())

    dead_letters = DeadLetterTopics(settings.kafka, settings.topic_prefix)
    return Watching(StuckWork(pool, load_stuck_queries()), dead_letters, lag, SystemClock())


def _retention(settings: TrackerSettings, pool: asyncpg.Pool) -> Retention:
    return Retention(pool, load_queries("retention.sql"), settings.kept, SystemClock())


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _warm(log_end: LogEnd) -> None:
    """The first connection takes a while: not at the expense of the first caller."""
    with suppress(Unavailable):
        await log_end.now()
