"""`read_partition` on a real broker: what is committed up to the end as of now, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sagahook.runtime.topics import ensure_topics
from sagahook_runner.adapters.snapshots import SLICE, read_partition, snapshot_consumer
from sagahook_schemas.topics import SAGA_STATE


@pytest_asyncio.fixture
async def partition(kafka_bootstrap: str, topic_prefix: str) -> TopicPartition:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    return TopicPartition(SAGA_STATE.name(topic_prefix), 0)


@pytest_asyncio.fixture
async def owner(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, transactional_id=f"{topic_prefix}-owner", retry_backoff_ms=2
    )
    await producer.start()
    yield producer
    await producer.stop()


@pytest_asyncio.fixture
async def consumer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    started = snapshot_consumer(kafka_bootstrap)
    await started.start()
    yield started
    await started.stop()


async def write(
    owner: AIOKafkaProducer,
    consumer: AIOKafkaConsumer,
    partition: TopicPartition,
    *values: str,
    commit: bool = True,
) -> None:
    await owner.begin_transaction()
    sent = [
        await owner.send(partition.topic, value.encode(), key=b"key", partition=partition.partition)
        for value in values
    ]
    last = (await asyncio.gather(*sent))[-1].offset
    await (owner.commit_transaction() if commit else owner.abort_transaction())
    # Whoever reads comes after a fence, and that waits until the transaction's marker lies behind its last record.
    async with asyncio.timeout(30):
        while (await consumer.end_offsets([partition]))[partition] < last + 2:
            await asyncio.sleep(0.01)


async def read(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[list[str]]:
    async with asyncio.timeout(30):
        return [
            [each.value.decode() for each in records] async for records in read_partition(consumer, partition)
        ]


def in_a_row(lists: list[list[str]]) -> list[str]:
    return [value for values in lists for value in values]


async def test_a_partition_that_holds_nothing_is_read_at_once(
    consumer: AIOKafkaConsumer, partition: TopicPartition
) -> None:
    assert await read(consumer, partition) == []


async def test_the_end_is_reached_past_an_aborted_transaction_of_which_nothing_is_read(
    consumer: AIOKafkaConsumer, partition: TopicPartition, owner: AIOKafkaProducer
) -> None:
    await write(owner, consumer, partition, "a", "b")
    await write(owner, consumer, partition, "given up", commit=False)
    await write(owner, consumer, partition, "c")
    await write(owner, consumer, partition, "given up too", commit=False)
    assert in_a_row(await read(consumer, partition)) == ["a", "b", "c"]


async def test_one_consumer_reads_a_partition_again_from_its_beginning(
    consumer: AIOKafkaConsumer, partition: TopicPartition, owner: AIOKafkaProducer
) -> None:
    await write(owner, consumer, partition, "a")
    assert await read(consumer, partition) == [["a"]]
    await write(owner, consumer, partition, "b")
    assert in_a_row(await read(consumer, partition)) == ["a", "b"]


async def test_no_list_is_longer_than_a_slice_so_that_the_loop_gets_its_turns(
    consumer: AIOKafkaConsumer, partition: TopicPartition, owner: AIOKafkaProducer
) -> None:
    values = [str(number) for number in range(2 * SLICE + 7)]
    await write(owner, consumer, partition, *values)
    lists = await read(consumer, partition)
    assert max(len(each) for each in lists) <= SLICE
    assert in_a_row(lists) == values
