"""The composition root of the projector."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from sagahook.runtime.batch_consumer import BatchConsumer
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.database import open_pool
from sagahook.runtime.dead_letters import KafkaDeadLetters
from sagahook.runtime.health import Health, health_app
from sagahook.runtime.metrics import watch_pool, watch_ready
from sagahook.runtime.starting import tell_started
from sagahook.runtime.telemetry_kafka import linked
from sagahook_schemas.sagas import SagaCompleted, SagaFailed, SagaJoined, SagaRolledBack
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from sagahook_tracker.adapters.news import CHANNEL
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.schema import view_tables
from sagahook_tracker.handlers import Pipeline
from sagahook_tracker.retention import Retention
from sagahook_tracker.settings import TrackerSettings

MAX_RECORDS = 2_000
"""Of one transaction: what is projected while it runs is not visible yet."""

REST = 0.7
"""Of what a batch took: three fifths of the time at most go into batches, unless there is a backlog."""


ENDS = (SagaCompleted, SagaRolledBack, SagaFailed, SagaJoined)
"""What an answer is final with; that a webhook joined a saga may be it too."""


class Projector:
    """`run` until told to stop; `app` is its HTTP face."""

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self.health = Health()
        watch_ready("tracker", self.health.is_ready)
        self.app = health_app(self.health)

    async def run(self, stopping: asyncio.Event) -> None:
        """Raises OffsetOutOfRange or TopicsMismatch, for an operator."""
        settings = self._settings
        pool = await open_pool(settings, clean_up=False)
        try:
            await tell_started(self.health, settings, pool, view_tables(settings.topics), stopping)
            if not stopping.is_set():
                await self._project(pool, stopping)
        finally:
            await pool.close()

    async def _project(self, pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
        settings = self._settings
        watch_pool("tracker", pool)
        projection = Projection(pool, load_queries(), channel=CHANNEL)
        dead_letters = KafkaDeadLetters(settings.kafka, settings.topic_prefix, settings.group)
        pipeline = Pipeline(projection, dead_letters)
        consumer = BatchConsumer(
            bootstrap=settings.kafka,
            group=settings.group,
            topics=settings.topics,
            load_offsets=projection.take_offsets,
            handle=linked(settings.group, pipeline.handle),
            finish=pipeline.finish,
            on_tick=lambda: self.health.turned(is_reading=consumer.is_reading),
            max_records=MAX_RECORDS,
            # For those who ask for a status as soon as their webhook was accepted.
            first=[settings.topic(WEBHOOKS_RECEIVED), settings.topic(WEBHOOKS_ROUTED)],
            rest=REST,
            awaited={settings.topic(SAGA_EVENTS): [event.ce_type for event in ENDS]},
            session_timeout=settings.session_timeout,
        )
        self.health.add("projection", consumer.check, needed=True)
        retention = Retention(pool, load_queries("retention.sql"), settings.kept, SystemClock())
        cleaning = asyncio.create_task(retention.run(stopping, settings.cleanup_every), name="retention")
        try:
            await consumer.run(stopping)
        finally:
            self.health.ready = False
            cleaning.cancel()
            with suppress(asyncio.CancelledError):
                await cleaning
            await dead_letters.close()
