"""How far readers say they are behind, on a real log: also where they read nothing, which is when it matters."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY

from sagahook.runtime.batches import Batches
from sagahook.runtime.inbox import Inbox
from sagahook.runtime.lag import lag_of
from sagahook.runtime.partition_workers import GroupOffset
from sagahook.runtime.partitions import PartitionedConsumer
from tests.integration.test_batch_consumer import Log, Table, open_log, running
from tests.processes import until


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Log]:
    async with open_log(kafka_bootstrap, topic_prefix) as opened:
        yield opened


async def written(log: Log, count: int) -> None:
    await asyncio.gather(*(log.write(b"x") for _ in range(count)))


def shown(log: Log, group: str) -> float | None:
    labels = {"group": group, "topic": log.topic, "partition": "0"}
    return REGISTRY.get_sample_value("sagahook_kafka_lag_records", labels)


async def test_a_reader_that_waits_for_its_database_tells_what_comes_in_meanwhile(log: Log) -> None:
    table, back = Table(), asyncio.Event()
    group = f"{log.topic}.test"

    async def handle(batches: Batches) -> None:
        await back.wait()
        await table.handle(batches)

    consumer = log.consumer(table)
    consumer._handle = handle
    await written(log, 1)
    async with running(consumer):
        await until(lambda: consumer.is_reading)
        await written(log, 200)
        assert (await lag_of(consumer))[TopicPartition(log.topic, 0)] == 201
        await until(lambda: shown(log, group) == 201)
        assert REGISTRY.get_sample_value("queue_size", {"topic": log.topic}) == 201
        assert REGISTRY.get_sample_value("celery_queue_size", {"topic": log.topic}) == 201
        back.set()
        await until(lambda: len(table.values) == 201)
        await until(lambda: shown(log, group) == 0)
    assert shown(log, group) is None, "what it does not read any more it says nothing about"


class Full:
    """A partition's worker that takes up one record, and then is full."""

    def __init__(self, offset: GroupOffset) -> None:
        self.inbox = Inbox()
        self._offset = offset

    async def take_over(self) -> int:
        self.inbox.next_offset = (await self._offset.start()).offset
        return self.inbox.next_offset

    def deliver(self, records: Sequence[ConsumerRecord]) -> None:
        self.inbox.extend(records)

    @property
    def is_full(self) -> bool:
        return bool(self.inbox)

    @property
    def next_offset(self) -> int:
        return self.inbox.next_offset

    @property
    def waiting_from(self) -> int | None:
        return self.inbox.first_offset

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def let_go(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None: ...


class FullHost:
    def __init__(self) -> None:
        self.workers: dict[int, Full] = {}

    def worker(self, partition: int, offset: GroupOffset) -> Full:
        self.workers[partition] = Full(offset)
        return self.workers[partition]

    def moved(self, partition: int) -> None: ...

    async def drain(self) -> None: ...


async def test_a_worker_that_is_full_tells_what_comes_in_meanwhile_and_the_end_of_a_transaction_is_no_record(
    log: Log,
) -> None:
    host = FullHost()
    group = f"{log.topic}.full"
    consumer = PartitionedConsumer(bootstrap=log.bootstrap, group=group, topic=log.topic, host=host)
    stopping = asyncio.Event()
    reading = asyncio.create_task(consumer.run(stopping, lambda: None))
    try:
        await until(lambda: consumer.is_settled and len(host.workers) == 2)
        await written(log, 1)
        await until(lambda: host.workers[0].is_full)
        await written(log, 200)
        lags = await lag_of(consumer)
        assert lags == {TopicPartition(log.topic, 0): 201, TopicPartition(log.topic, 1): 0}
        async with (
            AIOKafkaProducer(bootstrap_servers=log.bootstrap, transactional_id=log.topic) as producer,
            producer.transaction(),
        ):
            await producer.send_and_wait(log.topic, b"x", partition=1)
        await until(lambda: host.workers[1].is_full)
        host.workers[1].inbox.popleft()
        await until(lambda: not consumer._slots[TopicPartition(log.topic, 1)].paused)
        async with asyncio.timeout(10):
            while (await lag_of(consumer))[TopicPartition(log.topic, 1)]:
                await asyncio.sleep(0.05)
    finally:
        stopping.set()
        await reading
