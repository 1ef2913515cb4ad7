"""The composition root of the notifier."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg
from fastapi import FastAPI

from sagahook.runtime.acts import Acts
from sagahook.runtime.audit import Audit
from sagahook.runtime.batch_consumer import BatchConsumer
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock, SystemClock
from sagahook.runtime.database import open_pool
from sagahook.runtime.dead_letters import KafkaDeadLetters
from sagahook.runtime.health import Health, Status, health_app, health_routes
from sagahook.runtime.http_errors import install_error_handlers
from sagahook.runtime.keys import Access
from sagahook.runtime.metrics import watch_pool, watch_ready
from sagahook.runtime.source_watch import SourceWatch
from sagahook.runtime.sources import Sources
from sagahook.runtime.starting import tell_started
from sagahook.runtime.telemetry_http import HTTP_SPANS
from sagahook.runtime.telemetry_kafka import linked
from sagahook.runtime.topics import await_partition_count
from sagahook_notifier.adapters.announcer import Announcer
from sagahook_notifier.adapters.delivery_store import DeliveryStore
from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_notifier.adapters.http_client import Timeouts
from sagahook_notifier.adapters.intake_store import IntakeStore
from sagahook_notifier.adapters.outbox_store import OutboxStore
from sagahook_notifier.adapters.retention_store import RetentionStore
from sagahook_notifier.adapters.schema import TABLES
from sagahook_notifier.adapters.sender import Sender, open_sender
from sagahook_notifier.adapters.survey_store import SurveyStore
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.api import endpoint_routes
from sagahook_notifier.delivery_api import delivery_routes
from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.health import Breaker
from sagahook_notifier.domain.payloads import Limits as PayloadLimits
from sagahook_notifier.domain.verdicts import Rules
from sagahook_notifier.handlers.deliveries import Deliveries
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.dispatch import Dispatcher, Limits
from sagahook_notifier.handlers.endpoints import Endpoints
from sagahook_notifier.handlers.intake import Intake
from sagahook_notifier.handlers.outbox import Outbox
from sagahook_notifier.handlers.retention import Retention
from sagahook_notifier.handlers.survey import Survey
from sagahook_notifier.settings import NotifierSettings, check_signing
from sagahook_schemas.topics import NOTIFICATIONS, SAGA_EVENTS

_CHECK_SECONDS = 1.0
_CLOSE_SECONDS = 2.0

INTAKE_REST = 1.0
"""Of what a batch took: half of the time at most goes into batches, unless there is a backlog."""

INTAKE_LEISURE = 0.25
"""Seconds between two batches as long as nothing can come of them but what is remembered of each saga. An endpoint that
is made meanwhile hears of what happened before it too."""


class Notifier:
    """Intake, dispatch and outbox as one object: `run` until told to stop, `app` for probes and metrics."""

    def __init__(self, settings: NotifierSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._sources = dict(settings.sources)
        """Read by intake and sender for each event; what changes, changes in it."""
        self._database = Dependency("PostgreSQL")
        self.health = Health()
        self.health.add("postgres", self._database.check, needed=True)
        watch_ready("notifier", self.health.is_ready)
        self.app = health_app(self.health)

    async def run(self, stopping: asyncio.Event) -> None:
        """Raises TopicsMismatch or OffsetOutOfRange, maybe in an ExceptionGroup: for an operator."""
        working = asyncio.create_task(self._work(stopping), name="notifier")
        told = asyncio.create_task(stopping.wait())
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        self.health.ready = False
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if not working.cancelled():
            working.result()

    async def _work(self, stopping: asyncio.Event) -> None:
        settings, clock, database = self._settings, self._clock, self._database
        async with AsyncExitStack() as opened:
            pool = await opened.enter_async_context(_pool("notifier", settings, by_keys=True))
            if not await TABLES.wait(pool, stopping):
                return
            vault = Vault(settings.secret_keys)
            dead_letters = KafkaDeadLetters(settings.kafka, settings.topic_prefix, settings.group)
            opened.push_async_callback(dead_letters.close)
            announcer = await opened.enter_async_context(
                Announcer(settings.kafka, settings.topic(NOTIFICATIONS))
            )
            sender = await opened.enter_async_context(_sender(settings, self._sources, clock))
            outbox = Outbox(
                store=OutboxStore(pool), announcer=announcer, database=database, kafka=Dependency("Kafka")
            )
            targets = Targets(vault)
            deliveries = DispatchStore(pool, targets)
            dispatcher = self._dispatcher(deliveries, sender, outbox)
            intake_store = IntakeStore(pool, targets)
            intake = Intake(
                store=intake_store,
                sources=self._sources,
                dead_letters=dead_letters,
                clock=clock,
                limits=PayloadLimits(settings.notify_payload_limit, settings.public_url),
                dispatcher=dispatcher,
            )
            endpoints = EndpointStore(pool, vault)
            await database.reach(endpoints.seal)
            await database.reach(lambda: endpoints.put_configured(settings.endpoints, clock.now()))
            async with asyncio.TaskGroup() as parts:
                watch = SourceWatch(settings.source_configuration, self._reconfigure)
                parts.create_task(watch.run(), name="sources")
                survey = Survey(SurveyStore(pool), deliveries, database, clock)
                parts.create_task(survey.run(), name="survey")
                if settings.kept is not None:
                    retention = Retention(RetentionStore(pool), database, settings.kept, clock)
                    parts.create_task(retention.run(settings.cleanup_every), name="retention")
                for part in (
                    self._read_log(intake_store, intake, stopping),
                    dispatcher.run(stopping),
                    outbox.run(stopping),
                ):
                    parts.create_task(_ending_all(stopping, part))

    def _reconfigure(self, sources: Sources) -> None:
        """Raises ValueError, and leaves everything as it was."""
        check_signing(sources)
        self._sources.clear()
        self._sources.update(sources)

    def _dispatcher(self, store: DispatchStore, sender: Sender, outbox: Outbox) -> Dispatcher:
        return Dispatcher(
            store=store,
            sender=sender,
            clock=self._clock,
            dice=random.SystemRandom().random,
            limits=_limits(self._settings),
            database=self._database,
            on_recorded=outbox.wake,
        )

    async def _read_log(self, store: IntakeStore, intake: Intake, stopping: asyncio.Event) -> None:
        settings = self._settings
        if await await_partition_count(settings.kafka, settings.topic_prefix, stopping) is None:
            return
        self.health.started = True
        topic = settings.topic(SAGA_EVENTS)

        consumer = BatchConsumer(
            bootstrap=settings.kafka,
            group=settings.group,
            topics=[topic],
            load_offsets=store.load_offsets,
            handle=linked(settings.group, intake.handle),
            on_tick=lambda: self.health.turned(is_reading=consumer.is_reading),
            rest=INTAKE_REST,
            leisure=lambda: 0.0 if intake.is_heard else INTAKE_LEISURE,
            session_timeout=settings.session_timeout,
        )
        self.health.add("intake", consumer.check, needed=True)
        await consumer.run(stopping)


def _sender(
    settings: NotifierSettings, sources: Sources, clock: Clock
) -> AbstractAsyncContextManager[Sender]:
    return open_sender(
        sources=sources,
        clock=clock,
        timeouts=Timeouts(
            connect=settings.notify_connect_timeout,
            silence=settings.notify_read_timeout,
            total=settings.notify_timeout,
        ),
        reach=Reach(
            everything=settings.notify_allow_private,
            networks=settings.notify_allow_networks,
            hosts=settings.notify_allow_hosts,
        ),
        tls=ssl.create_default_context(cafile=settings.notify_ca_file) if settings.notify_ca_file else None,
    )


def _limits(settings: NotifierSettings) -> Limits:
    hours = settings.notify_disable_hours
    return Limits(
        lease=timedelta(seconds=settings.notify_lease),
        concurrency=settings.notify_concurrency,
        per_endpoint=settings.notify_endpoint_concurrency,
        drain=timedelta(seconds=settings.notify_drain),
        rules=Rules(
            breaker=Breaker(
                settings.notify_breaker_failures, timedelta(seconds=settings.notify_breaker_seconds)
            ),
            disable_after=timedelta(hours=hours) if hours else None,
        ),
    )


async def _ending_all(stopping: asyncio.Event, part: Coroutine[Any, Any, None]) -> None:
    """No part goes on without the others."""
    try:
        await part
    finally:
        stopping.set()


def build_app(settings: NotifierSettings) -> FastAPI:
    """The notifier's HTTP face: what people ask of it. It starts without Kafka and without the database."""
    health, clock = Health(), SystemClock()
    watch_ready("notifier-api", health.is_ready)
    audit = Audit(settings.kafka, settings.topic_prefix, "notifier", clock)
    opened: list[tuple[Endpoints, Deliveries]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with (
            _pool("notifier-api", settings) as pool,
            _beside(audit.run()),
            _beside(tell_started(health, settings, pool, TABLES, asyncio.Event())),
        ):
            store = EndpointStore(pool, Vault(settings.secret_keys))
            endpoints = Endpoints(store, clock, [endpoint.id for endpoint in settings.endpoints])
            deliveries = Deliveries(DeliveryStore(pool), store, clock, settings.notify_recover_rate)
            opened.append((endpoints, deliveries))
            health.add("postgres", lambda: _answers(store), needed=True)
            health.ready = True
            yield
            health.ready = False
            opened.clear()

    app = FastAPI(
        title="sagahook notifier",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        telemetry=HTTP_SPANS,
    )
    app.state.health = health
    app.include_router(health_routes(health))
    guard = Access(settings, audit, clock).needs("admin")
    acts = Acts(audit)
    app.include_router(endpoint_routes(lambda: opened[0][0], clock, guard, acts))
    app.include_router(delivery_routes(lambda: opened[0][1], guard, acts))
    install_error_handlers(app)
    return app


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It runs as long as the block does."""
    working = asyncio.create_task(work)
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _answers(store: EndpointStore) -> Status:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await store.ping()
    except (Unavailable, TimeoutError):
        return "degraded"
    return "healthy"


@asynccontextmanager
async def _pool(
    service: str, settings: NotifierSettings, *, by_keys: bool = False
) -> AsyncIterator[asyncpg.Pool]:
    """service: as the metrics name it."""
    pool = await open_pool(settings, clean_up=False, by_keys=by_keys)
    watch_pool(service, pool)
    try:
        yield pool
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        pool.terminate()
