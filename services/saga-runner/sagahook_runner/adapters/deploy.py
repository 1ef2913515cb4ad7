"""Publishes what is deployed to `saga.definitions`, so that ingest knows the sources and tracker the steps; and makes
the topics of the participants that it names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.topics import VISIBLE_SECONDS, ensure_topics
from sagahook.saga.brokers import client_options
from sagahook_runner.adapters.records import SOURCE
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_DEFINITIONS, steps_topic

log = get_logger(__name__)

_PATIENCE_SECONDS = 10.0


async def publish_definitions(
    settings: ServiceSettings, definitions: Iterable[SagaDefinition], clock: Clock, stopping: asyncio.Event
) -> None:
    """The topic is compacted, so that saying the same at every start leaves one record for each version.

    Tries until Kafka is there, or `stopping`.
    """
    await _until_done(lambda: _publish(settings, definitions, clock), _PATIENCE_SECONDS, stopping)


async def ensure_participant_topics(
    settings: ServiceSettings,
    definitions: Iterable[SagaDefinition],
    partitions: int,
    stopping: asyncio.Event,
) -> None:
    """Make `saga.steps.<participant>` and its dead-letter topic for every participant that a definition names, before
    anything of it can run.

    Tries until Kafka is there, or `stopping`. Raises TopicsMismatch where one exists with another number of
    partitions, or may not be made.
    """
    named = sorted({step.participant for each in definitions for step in each.steps if step.participant})
    topics = [topic for name in named for topic in (steps_topic(name), steps_topic(name).dead_letters)]
    if topics:
        prefix = settings.topic_prefix
        await _until_done(
            lambda: ensure_topics(settings.kafka, prefix, partitions, topics=topics),
            VISIBLE_SECONDS + _PATIENCE_SECONDS,
            stopping,
        )


async def _until_done(act: Callable[[], Awaitable[object]], patience: float, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with asyncio.timeout(patience):
                await act()
                return
        except (KafkaError, OSError, TimeoutError) as away:
            log.warning("deploy.waiting", error=repr(away))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1.0)


async def _publish(settings: ServiceSettings, definitions: Iterable[SagaDefinition], clock: Clock) -> None:
    topic = settings.topic(SAGA_DEFINITIONS)
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        partitions = len(await producer.partitions_for(topic))
        for definition in definitions:
            now = clock.now()
            envelope = Envelope(
                id=f"{definition.key}/{definition.hash}",
                source=SOURCE,
                type=definition.ce_type,
                time=now,
                subject=definition.key,
            )
            await producer.send_and_wait(
                topic,
                key=definition.key.encode(),
                value=definition.model_copy(update={"deployed_at": now}).to_json(),
                headers=envelope.to_headers(),
                partition=partition_of(definition.key, partitions),
            )
    finally:
        await producer.stop()
