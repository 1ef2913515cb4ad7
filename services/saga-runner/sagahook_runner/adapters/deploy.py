"""Publishes what is deployed to `saga.definitions`, so that ingest knows the sources and tracker the steps."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from sagahook.runtime.clock import Clock
from sagahook.runtime.settings import ServiceSettings
from sagahook_runner.adapters.records import SOURCE
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_DEFINITIONS


async def publish_definitions(
    settings: ServiceSettings, definitions: Iterable[SagaDefinition], clock: Clock
) -> None:
    """The topic is compacted, so that saying the same at every start leaves one record for each version."""
    topic = settings.topic(SAGA_DEFINITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    try:
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
