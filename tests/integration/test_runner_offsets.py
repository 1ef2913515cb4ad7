"""Kafka forgets the offsets of a group that was empty for long: a runner begins nothing anew until they are set."""

import asyncio
import signal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient

from sagahook_schemas.topics import SAGA_COMMANDS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, Topic
from tests.runner_harness import PARTITIONS, RunnerHarness


@pytest.mark.parametrize(
    ("group", "topic"),
    [("runner", SAGA_COMMANDS), ("router", WEBHOOKS_RECEIVED)],
    ids=["of an owner", "of a router"],
)
async def test_a_runner_whose_offsets_are_gone_stops_and_goes_on_once_they_are_set(
    runners: RunnerHarness, group: str, topic: Topic
) -> None:
    first = await runners.start_runner()
    await runners.publish([{"id": 1}])
    await runners.read_until_final(1)
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 0
    await forget(runners, group)

    second = await runners.start_runner()
    assert await second.wait() != 0
    assert "has no offset for it" in runners.logs()

    await set_to_the_end(runners, group, topic)
    await runners.start_runner()
    await runners.publish([{"id": 2}])
    events = await runners.read_until_final(2)
    assert [event.kind for event in events].count("saga.started") == 2


async def test_a_router_that_died_in_its_first_transaction_keeps_nobody_from_beginning(
    runners: RunnerHarness,
) -> None:
    topic = WEBHOOKS_ROUTED.name(runners.prefix)
    producer = AIOKafkaProducer(bootstrap_servers=runners.bootstrap, transactional_id=f"{topic}-dead")
    async with producer:
        await producer.begin_transaction()
        for number in range(PARTITIONS):
            await producer.send_and_wait(topic, b"{}", partition=number)
        await producer.abort_transaction()

    await runners.start_runner()
    await runners.publish([{"id": 1}])
    await runners.read_until_final(1)


async def forget(runners: RunnerHarness, group: str) -> None:
    """As the broker does after offsets.retention.minutes."""
    admin = AdminClient({"bootstrap.servers": runners.bootstrap})
    forgotten = admin.delete_consumer_groups([f"{runners.prefix}-{group}"])
    await asyncio.to_thread(forgotten[f"{runners.prefix}-{group}"].result)


async def set_to_the_end(runners: RunnerHarness, group: str, topic: Topic) -> None:
    """As kafka-consumer-groups.sh --reset-offsets --to-latest does."""
    places = [TopicPartition(topic.name(runners.prefix), number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=runners.bootstrap, group_id=f"{runners.prefix}-{group}", enable_auto_commit=False
    )
    async with consumer:
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
