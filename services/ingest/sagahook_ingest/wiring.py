"""The composition root of ingest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from fastapi import FastAPI

from sagahook.runtime.audit import Audit
from sagahook.runtime.clock import Clock, SystemClock
from sagahook.runtime.erasable import data_keys
from sagahook.runtime.health import Health, Status, health_routes
from sagahook.runtime.http_errors import install_error_handlers
from sagahook.runtime.logging import get_logger
from sagahook.runtime.metrics import watch_ready
from sagahook.runtime.source_watch import SourceWatch
from sagahook.runtime.tail import Tail
from sagahook.runtime.telemetry_http import HTTP_SPANS
from sagahook.runtime.topics import await_partition_count
from sagahook_ingest import metrics
from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.adapters.views import DELIVERY_HEADER, KEY_HEADER, apply_to_answers, apply_to_sources
from sagahook_ingest.admission import Limits
from sagahook_ingest.api import AcceptWebhooks, IngestApp
from sagahook_ingest.domain.first_answers import FirstAnswers
from sagahook_ingest.domain.sources import KnownSources
from sagahook_ingest.handlers import Receiver
from sagahook_ingest.settings import IngestSettings
from sagahook_schemas.topics import SAGA_DEFINITIONS, WEBHOOKS_RECEIVED

log = get_logger(__name__)

_DRAIN_SECONDS = 1.0
"""What answering may take beyond the time that Kafka is given."""
_BATCH_WAIT_SECONDS = 0.1
"""How long another replica's record may take to be known here as a duplicate."""


class Ingest:
    """ingest as one object: `app` is its whole HTTP face and, as long as it is served, does its work."""

    def __init__(self, settings: IngestSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._sources = KnownSources(settings.sources, settings.unsigned_rate_limit)
        self._window = timedelta(hours=settings.idempotency_hours)
        self._answers = FirstAnswers(window=self._window, limit=settings.idempotency_keys)
        self._publisher: GroupPublisher | None = None
        self._stopping = asyncio.Event()
        self._failed = asyncio.Event()
        limits = Limits(
            settings.body_limit,
            settings.max_in_flight_bytes,
            settings.batch_limit,
            settings.trusted_proxies,
            settings.proxy_header,
        )
        self._audit = Audit(settings.kafka, settings.topic_prefix, "ingest", self._clock)
        self.accept = AcceptWebhooks(self._sources, self._clock, limits, self._audit)
        self.opened = asyncio.Event()
        """Set once it has caught up and takes webhooks."""
        self.health = Health()
        watch_ready("ingest", self.health.is_ready)
        self.health.add("kafka", self._kafka_status, needed=True)
        self.health.add("views", self._views_status)
        self.app = IngestApp(
            self.accept,
            title="sagahook ingest",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            telemetry=HTTP_SPANS,
        )
        self.app.state.health = self.health
        self.app.include_router(health_routes(self.health))
        install_error_handlers(self.app)
        metrics.IDEMPOTENCY_KEYS.set_function(lambda: len(self._answers))
        metrics.IN_FLIGHT.set_function(lambda: self._publisher.held if self._publisher else 0)

    async def run(self, stopping: asyncio.Event) -> None:
        """Wait until told to stop, then answer what was taken and take nothing new.

        Raises RuntimeError where the work behind `app` has failed: start anew.
        """
        waits = [asyncio.create_task(event.wait()) for event in (stopping, self._failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._failed.is_set():
            raise RuntimeError("ingest failed; its log says why")
        self.health.ready = False
        await self.accept.door.drain(self._settings.publish_timeout + _DRAIN_SECONDS)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with self.working():
            yield

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Within the block it does what `accept` needs, in the loop that enters it."""
        working = asyncio.create_task(self._work(), name="ingest")
        working.add_done_callback(self._ended)
        try:
            yield
        finally:
            self.health.ready = False
            self._stopping.set()
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _work(self) -> None:
        """Wait for Kafka, catch up, open; then keep the views current until cancelled."""
        settings = self._settings
        partitions = await await_partition_count(settings.kafka, settings.topic_prefix, self._stopping)
        if partitions is None:
            return
        self.health.started = True
        received = settings.topic(WEBHOOKS_RECEIVED)
        publisher = self._publisher = self._publisher_to(received, partitions)
        definitions = Tail(
            settings.kafka, settings.topic(SAGA_DEFINITIONS), partitions, apply_to_sources(self._sources)
        )
        answers = Tail(
            settings.kafka,
            received,
            partitions,
            apply_to_answers(self._answers),
            since=self._window,
            wanted=(KEY_HEADER.encode(), DELIVERY_HEADER.encode()),
            batch_wait=_BATCH_WAIT_SECONDS,
        )
        keys = data_keys(settings, partitions)
        views = [definitions.caught_up, answers.caught_up]
        async with asyncio.TaskGroup() as tasks:
            if keys is not None:
                tasks.create_task(keys.run(), name="erasure")
                views.append(keys.caught_up)
            watch = SourceWatch(settings.source_configuration, self._sources.reconfigure)
            tasks.create_task(watch.run(), name="sources")
            tasks.create_task(publisher.run(), name="publisher")
            tasks.create_task(self._audit.run(), name="audit")
            tasks.create_task(definitions.run(), name="definitions")
            tasks.create_task(answers.run(), name="answers")
            for event in (publisher.connected, *views):
                await event.wait()
            receiver = Receiver(
                publisher,
                self._answers,
                self._clock,
                answers.pass_end,
                timeout=settings.publish_timeout,
                keys=keys,
            )
            tasks.create_task(receiver.run(), name="doubts")
            self.accept.door.receiver = receiver
            self.health.ready = True
            self.opened.set()
            log.info("ingest.ready", partitions=partitions, idempotency_keys=len(self._answers))

    def _publisher_to(self, topic: str, partitions: int) -> GroupPublisher:
        return GroupPublisher(
            self._settings.kafka,
            topic,
            partitions,
            timeout=self._settings.publish_timeout,
            max_records=self._settings.max_in_flight,
            max_bytes=self._settings.max_in_flight_bytes,
        )

    def _ended(self, working: asyncio.Task[None]) -> None:
        if not working.cancelled() and working.exception() is not None:
            self.health.ready = False
            self.accept.door.receiver = None
            self._failed.set()
            log.critical("ingest.failed", exc_info=working.exception())

    async def _kafka_status(self) -> Status:
        return "healthy" if self._publisher is not None and await self._publisher.is_up() else "unhealthy"

    async def _views_status(self) -> Status:
        return "healthy" if self.health.ready else "unhealthy"


def build_app(settings: IngestSettings) -> FastAPI:
    """The HTTP app alone, for a process that serves it beside others."""
    return Ingest(settings).app
