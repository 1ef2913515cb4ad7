"""`sagahook history SAGA_ID`: a saga's log, as a file that `sagahook replay-test` reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from sagahook_schemas.topics import DEFAULT_PREFIX

if TYPE_CHECKING:
    from sagahook.testing import Happened


def history(
    saga_id: Annotated[str, typer.Argument(metavar="SAGA_ID")],
    kafka: Annotated[str, typer.Option(envvar="SAGAHOOK_KAFKA", help="Bootstrap servers, host:port.")],
    prefix: Annotated[
        str, typer.Option(envvar="SAGAHOOK_TOPIC_PREFIX", help="The deployment's.")
    ] = DEFAULT_PREFIX,
) -> None:
    """Write a saga's events, a line each, as they stand in Kafka: sagahook history ID > histories/order.jsonl"""
    from aiokafka.errors import KafkaError

    from sagahook.runtime.settings import brokers_of_environment
    from sagahook.testing.histories import history_line

    try:
        found = asyncio.run(_read(saga_id, brokers_of_environment(kafka), prefix))
    except (KafkaError, OSError) as away:
        typer.echo(f"sagahook: Kafka at {kafka} does not answer ({away or type(away).__name__})", err=True)
        raise typer.Exit(1) from None
    if not found:
        typer.echo(f"sagahook: the log of {prefix} holds no saga {saga_id}", err=True)
        raise typer.Exit(1)
    for happened in found:
        typer.echo(history_line(happened))


async def _read(saga_id: str, kafka: str, prefix: str) -> list[Happened]:
    """The events of all of the saga's runs, in the order of the log."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from orjson import loads

    from sagahook.saga.brokers import client_options
    from sagahook.testing import Happened
    from sagahook_schemas.envelope import Envelope
    from sagahook_schemas.identity import partition_of
    from sagahook_schemas.topics import SAGA_EVENTS

    topic = SAGA_EVENTS.name(prefix)
    consumer = AIOKafkaConsumer(topic, **client_options(kafka), isolation_level="read_committed")
    try:
        await consumer.start()
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            return []
        place = TopicPartition(topic, partition_of(saga_id, len(partitions)))
        consumer.unsubscribe()
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        found: list[Happened] = []
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                if record.key == saga_id.encode():
                    envelope = Envelope.from_headers(record.headers)
                    which = (envelope.saga_id, envelope.run, envelope.sequence)
                    found.append(Happened(*which, envelope.type, loads(record.value), envelope.time))
        return found
    finally:
        await consumer.stop()
