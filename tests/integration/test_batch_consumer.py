"""The consumer loop whose offsets live beside the rows: on a real broker, with the rows in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.batch_consumer import BatchConsumer
from sagahook.runtime.batches import (
    Batches,
    OffsetOutOfRange,
    OffsetsMoved,
    Unavailable,
)
from sagahook.runtime.gathering import Gathered, Gathering
from sagahook.runtime.lag import lag_of
from tests.processes import until

TOPIC = "saga.events"


@dataclass
class Table:
    """Rows and offsets that change together, as in the database."""

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    values: list[bytes | None] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    by_partition: dict[int, list[bytes | None]] = field(default_factory=lambda: {0: [], 1: []})
    loads: int = 0

    async def load(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.loads += 1
        return {partition: self.offsets[partition] for partition in partitions if partition in self.offsets}

    async def handle(self, batches: Batches) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for partition, batch in batches.items():
            if self.offsets.get(partition, batch.first_offset) != batch.first_offset:
                raise OffsetsMoved(f"{partition} is at {self.offsets[partition]}")
        for partition, batch in batches.items():
            self.offsets[partition] = batch.next_offset
            values = [record.value for record in batch.records]
            self.values += values
            self.by_partition[partition.partition] += values


@dataclass
class Log:
    """One topic with two partitions."""

    bootstrap: str
    topic: str
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient

    async def write(self, *values: bytes, partition: int = 0) -> None:
        for value in values:
            await self.producer.send_and_wait(self.topic, value, partition=partition)

    async def write_together(self, *values: bytes) -> None:
        """A reader has all of them or none."""
        batch = self.producer.create_batch()
        for value in values:
            batch.append(key=None, value=value, timestamp=None)
        await (await self.producer.send_batch(batch, self.topic, partition=0))

    def consumer(self, table: Table, **options: Any) -> BatchConsumer:
        return BatchConsumer(
            bootstrap=self.bootstrap,
            group=f"{self.topic}.test",
            topics=[self.topic],
            load_offsets=table.load,
            handle=table.handle,
            **options,
        )


@asynccontextmanager
async def open_log(bootstrap: str, prefix: str) -> AsyncIterator[Log]:
    topic = f"{prefix}.{TOPIC}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
        await producer.partitions_for(topic)  # waits until the broker knows it
        yield Log(bootstrap, topic, producer, admin)
    await admin.close()


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Log]:
    async with open_log(kafka_bootstrap, topic_prefix) as opened:
        yield opened


@asynccontextmanager
async def running(consumer: BatchConsumer) -> AsyncIterator[asyncio.Task[None]]:
    stopping = asyncio.Event()
    task = asyncio.create_task(consumer.run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        await asyncio.wait({task}, timeout=20)
        assert task.done()


async def test_it_reads_from_the_beginning_and_goes_on_where_the_rows_are(log: Log) -> None:
    table = Table()
    await log.write(b"a", b"b")
    async with running(log.consumer(table)):
        await until(lambda: table.values == [b"a", b"b"])
        await log.write(b"c")
        await until(lambda: table.values == [b"a", b"b", b"c"])
    await log.write(b"d")
    async with running(log.consumer(table)):
        await until(lambda: table.values == [b"a", b"b", b"c", b"d"])


async def test_a_failure_of_the_database_is_waited_for_and_the_batch_is_handled_once(log: Log) -> None:
    table = Table(failures=[Unavailable("the database is away"), Unavailable("still")])
    await log.write(b"a", b"b")
    consumer = log.consumer(table)
    async with running(consumer):
        await until(lambda: len(table.failures) == 1)
        assert await consumer.check() == "degraded"
        await until(lambda: table.values == [b"a", b"b"])
        await log.write(b"c")
        await until(lambda: table.values == [b"a", b"b", b"c"])
        assert await consumer.check() == "healthy"


async def test_a_batch_that_another_has_handled_is_dropped_and_reading_goes_on_behind_it(log: Log) -> None:
    table = Table()
    await log.write(b"a")
    async with running(log.consumer(table)):
        await until(lambda: table.values == [b"a"])
        table.offsets[TopicPartition(log.topic, 0)] = 3  # another handled offsets 1 and 2
        await log.write_together(b"theirs", b"theirs too", b"ours")
        await until(lambda: b"ours" in table.values)
    assert table.values == [b"a", b"ours"]


async def test_an_aborted_transaction_is_passed_without_a_record(log: Log) -> None:
    table = Table()
    partition = TopicPartition(log.topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=log.bootstrap, transactional_id=log.topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(log.topic, b"aborted", partition=0)
        await producer.abort_transaction()
    consumer = log.consumer(table)
    async with running(consumer):
        await until(lambda: table.offsets.get(partition) == 2)  # the record and its marker
        await log.write(b"a")
        await until(lambda: table.offsets[partition] == 3)
        assert await lag_of(consumer) == {partition: 0, TopicPartition(log.topic, 1): 0}
    assert table.values == [b"a"]


async def test_what_is_awaited_is_read_past_aiokafka_each_record_once_and_in_order(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through members that come and go, and transactions that were aborted."""
    gathered: list[bytes] = []

    whole = Gathering.behind

    async def behind(
        each: Gathering, offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Gathered] | None:
        found = await whole(each, offsets)
        gathered.extend(record.value for of_place in (found or {}).values() for record in of_place.records)
        return found

    monkeypatch.setattr(Gathering, "behind", behind)
    table, written = Table(), 0

    async def write_until(producer: AIOKafkaProducer, condition: Callable[[], bool]) -> None:
        nonlocal written
        async with asyncio.timeout(60):
            while not condition():
                await producer.begin_transaction()
                aborted = written % 3 == 0
                for number in range(2):
                    value = b"aborted" if aborted else b"%d" % written
                    headers = [("ce_type", b"type.ended")]
                    await producer.send(log.topic, value, partition=number, headers=headers)
                await (producer.abort_transaction() if aborted else producer.commit_transaction())
                written += 1
                await asyncio.sleep(0.01)

    options: dict[str, Any] = {
        "session_timeout": 1.5,
        "rest": 1.0,
        "leisure": lambda: 0.005,
        "awaited": {log.topic: ["type.ended"]},
    }
    first, second = (log.consumer(table, **options) for _ in range(2))
    producer = AIOKafkaProducer(bootstrap_servers=log.bootstrap, transactional_id=log.topic)
    async with producer, running(first):
        await write_until(producer, lambda: len(gathered) > 5)
        async with running(second):
            await write_until(producer, lambda: len(first.partitions()) == len(second.partitions()) == 1)
            await write_until(producer, lambda: len(gathered) > 20)
        await write_until(producer, lambda: len(first.partitions()) == 2)
        await write_until(producer, lambda: len(gathered) > 30)
        await until(lambda: len(table.values) >= 2 * sum(1 for n in range(written) if n % 3))
    expected = [b"%d" % number for number in range(written) if number % 3]
    for partition in table.by_partition.values():
        assert partition == expected


async def test_no_call_gets_more_records_than_allowed(log: Log) -> None:
    table = Table()
    sizes: list[int] = []

    async def handle(batches: Batches) -> None:
        sizes.append(sum(len(batch.records) for batch in batches.values()))
        await Table.handle(table, batches)

    await asyncio.gather(*(log.write(b"x", partition=number % 2) for number in range(25)))
    consumer = BatchConsumer(
        bootstrap=log.bootstrap,
        group=f"{log.topic}.small",
        topics=[log.topic],
        load_offsets=table.load,
        handle=handle,
        max_records=10,
    )
    async with running(consumer):
        await until(lambda: len(table.values) == 25)
    assert max(sizes) == 10


async def test_a_member_that_joins_takes_over_partitions_and_nothing_is_lost_or_repeated(log: Log) -> None:
    table = Table()
    written = 0

    async def write_until(condition: Callable[[], bool]) -> None:
        nonlocal written
        async with asyncio.timeout(20):
            while not condition():
                await log.write(b"%d" % written, partition=written % 2)
                written += 1
                await asyncio.sleep(0.02)

    first, second = (log.consumer(table, session_timeout=1.5) for _ in range(2))
    async with running(first):
        await write_until(lambda: len(table.values) > 5)
        async with running(second):
            await write_until(lambda: len(first.partitions()) == len(second.partitions()) == 1)
            await write_until(lambda: len(table.values) > 20)
        await write_until(lambda: len(first.partitions()) == 2)
        await until(lambda: len(table.values) >= written)
    assert sorted(int(value or b"") for value in table.values) == list(range(written))


async def test_a_log_that_is_empty_because_its_records_expired_counts_as_read(log: Log) -> None:
    table = Table()
    partition = TopicPartition(log.topic, 0)
    await log.write(b"a", b"b")
    await log.admin.delete_records({partition: RecordsToDelete(before_offset=2)})
    async with running(log.consumer(table)):
        await until(lambda: table.offsets == {partition: 2})
        await log.write(b"c")
        await until(lambda: table.values == [b"c"])


async def test_offsets_that_kafka_no_longer_holds_stop_it_with_what_to_do(log: Log) -> None:
    table = Table(offsets={TopicPartition(log.topic, 0): 1})
    await log.write(b"a", b"b", b"c")
    await log.admin.delete_records({TopicPartition(log.topic, 0): RecordsToDelete(before_offset=2)})
    async with running(log.consumer(table)) as task:
        await until(task.done)
    with pytest.raises(OffsetOutOfRange, match=r"at offset 1 next, but Kafka holds only 2 to 3"):
        task.result()
    assert table.values == []


async def test_a_broker_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before the start, and in the middle; without a restart of the consumer."""
    table = Table()
    kafka = EmbeddedKafka(tmp_path, await prepare_kafka())
    await kafka.start()
    try:
        async with open_log(kafka.bootstrap, "away") as log:
            await log.write(b"a")
            consumer = log.consumer(table)
        await kafka.stop()
        async with running(consumer):
            await asyncio.sleep(0.5)
            assert await consumer.check() == "degraded"
            await kafka.start()
            await until(lambda: table.values == [b"a"])
            await kafka.stop()
            await kafka.start()
            async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
                await producer.send_and_wait(log.topic, b"b", partition=1)
            await until(lambda: table.values == [b"a", b"b"], seconds=40)
            assert await consumer.check() == "healthy"
    finally:
        await kafka.stop()
