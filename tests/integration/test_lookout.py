"""A reader that rests is told of what somebody waits for, and gets it with all the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sagahook.runtime import gathering
from sagahook.runtime.gathering import Gathering
from sagahook.runtime.lookout import Lookout

AT_ONCE, LONG = 0.2, 60.0
"""Seconds: of a look that is to end by itself, and of one that is to be ended."""

Offsets = Mapping[TopicPartition, int]


class Log:
    """One topic with two partitions, of which the types `ended` and `failed` are awaited."""

    def __init__(
        self, topic: str, producer: AIOKafkaProducer, lookout: Lookout, gathering: Gathering
    ) -> None:
        self.places = [TopicPartition(topic, number) for number in range(2)]
        self._producer = producer
        self._lookout = lookout
        self._gathering = gathering

    async def write(self, type_: str, partition: int = 0, value: bytes = b"{}") -> int:
        """The offset behind it."""
        place = self.places[partition]
        headers = [("ce_type", type_.encode())]
        told = await self._producer.send_and_wait(place.topic, value, partition=partition, headers=headers)
        return int(told.offset) + 1

    async def sees(self, offsets: Offsets, seconds: float = AT_ONCE) -> bool:
        """Whether a look of so many seconds ended before they were over."""
        try:
            async with asyncio.timeout(seconds):
                await self._lookout.look(offsets, LONG)
        except TimeoutError:
            return False
        return True

    async def write_aborted(self, bootstrap: str) -> None:
        """It takes two offsets: the record's, and that of the mark."""
        topic = self.places[0].topic
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"aborted", partition=0)
            await producer.abort_transaction()

    async def gathers(self, *offsets: int) -> list[tuple[list[bytes], int]] | None:
        """Of each partition that has something, the values, and the offset behind them."""
        found = await self._gathering.behind(dict(zip(self.places, offsets, strict=True)))
        if found is None:
            return None
        return [
            ([record.value for record in found[place].records], found[place].next_offset)
            for place in self.places
            if place in found
        ]

    async def until_open(self) -> None:
        """A look ends at once as long as there is no connection. Nothing is written yet."""
        async with asyncio.timeout(20.0):
            while await self.gathers(0, 0) is None:
                await asyncio.sleep(0.01)
            while await self.sees(dict.fromkeys(self.places, 0), 0.05):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_log(bootstrap: str, prefix: str, compression: str | None = None) -> AsyncIterator[Log]:
    topic = f"{prefix}.log"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=compression)
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer, producer:
        lookout = Lookout(consumer._client, {topic: ["type.ended", "type.failed"]})
        gathering = Gathering(consumer._client)
        try:
            yield Log(topic, producer, lookout, gathering)
        finally:
            lookout.close()
            gathering.close()


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Log]:
    async with open_log(kafka_bootstrap, topic_prefix) as opened:
        yield opened


async def test_it_ends_when_there_is_what_is_awaited_and_for_nothing_else(log: Log) -> None:
    await log.until_open()
    begin = dict.fromkeys(log.places, 0)
    await log.write("type.started")
    assert not await log.sees(begin)

    looking = asyncio.create_task(log.sees(begin, LONG))
    await log.write("type.progressed", 1)
    await log.write("type.ended", 1)
    assert await looking


async def test_what_the_reader_has_read_already_is_nothing_new(log: Log) -> None:
    await log.until_open()
    end = await log.write("type.ended")
    assert await log.sees({log.places[0]: 0, log.places[1]: 0}, LONG)
    assert not await log.sees({log.places[0]: end, log.places[1]: 0})
    await log.write("type.started")
    await log.write("type.failed")
    assert await log.sees({log.places[0]: end, log.places[1]: 0}, LONG)


async def test_what_it_saw_in_partitions_that_went_is_no_reason_to_end(log: Log) -> None:
    await log.until_open()
    await log.write("type.ended")
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)
    assert not await log.sees({log.places[1]: 0})


async def test_it_looks_behind_batches_that_are_larger_than_one_look(log: Log) -> None:
    await log.until_open()
    for partition in range(2):
        for _ in range(3):
            await log.write("type.started", partition, b"x" * 100_000)
    await log.write("type.ended", 1)
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)


async def test_what_is_compressed_may_be_it(kafka_bootstrap: str, topic_prefix: str) -> None:
    async with open_log(kafka_bootstrap, topic_prefix, "gzip") as log:
        await log.until_open()
        await log.write("type.started", value=b"x" * 1_000)
        assert await log.sees(dict.fromkeys(log.places, 0), LONG)


async def test_nobody_rests_longer_for_one_that_cannot_look(log: Log) -> None:
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)  # there is no connection yet
    await log.until_open()
    nowhere = TopicPartition(log.places[0].topic, 9)
    assert await log.sees({nowhere: 0, **dict.fromkeys(log.places, 0)}, LONG)
    assert await log.sees({TopicPartition("other", 0): 0}, LONG)  # of which nothing is awaited
    assert await log.sees({}, LONG)


async def test_it_is_blind_for_a_moment_where_the_reader_is_beyond_the_end_and_then_sees_again(
    log: Log,
) -> None:
    await log.until_open()
    await log.write("type.started")
    beyond = dict.fromkeys(log.places, 1 << 41)
    assert await log.sees(beyond, LONG)  # Kafka has nothing to say of such offsets
    async with asyncio.timeout(20.0):
        while await log.sees(dict.fromkeys(log.places, 0)):
            await asyncio.sleep(0.05)
    await log.write("type.ended")
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)


async def test_a_connection_that_is_lost_is_made_again(log: Log) -> None:
    await log.until_open()
    begin = dict.fromkeys(log.places, 0)
    looking = asyncio.create_task(log.sees(begin, LONG))
    await asyncio.sleep(0.1)
    [line] = log._lookout._leaders._lines._lines.values()
    line._transport.abort()
    assert await looking
    async with asyncio.timeout(20.0):
        while await log.sees(begin):
            await asyncio.sleep(0.05)
    await log.write("type.ended")
    assert await log.sees(begin, LONG)


async def test_one_that_is_closed_looks_no_longer(log: Log) -> None:
    await log.until_open()
    looking = asyncio.create_task(log.sees(dict.fromkeys(log.places, 0), LONG))
    await asyncio.sleep(0.1)
    assert not looking.done()
    log._lookout.close()
    assert await looking
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_it_ends_when_the_time_is_over(log: Log, seconds: float) -> None:
    await log.until_open()
    async with asyncio.timeout(LONG):
        await log._lookout.look(dict.fromkeys(log.places, 0), seconds)


async def test_it_gathers_what_is_committed_behind_each_offset(log: Log, kafka_bootstrap: str) -> None:
    await log.until_open()
    for value in (b"read", b"one"):
        await log.write("type.started", value=value)
    await log.write_aborted(kafka_bootstrap)
    await log.write("type.ended", value=b"two")
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)

    assert await log.gathers(1, 0) == [([b"one", b"two"], 5)]
    await log.write("type.ended", partition=1, value=b"other")
    assert await log.gathers(1, 0) == [([b"one", b"two"], 5), ([b"other"], 1)]
    assert await log.gathers(5, 1) == []


async def test_it_gathers_marks_that_no_record_follows(log: Log, kafka_bootstrap: str) -> None:
    await log.until_open()
    await log.write_aborted(kafka_bootstrap)
    assert not await log.sees(dict.fromkeys(log.places, 0))
    await log.write("type.ended", partition=1)
    assert await log.sees(dict.fromkeys(log.places, 0), LONG)

    assert await log.gathers(0, 1) == [([], 2)]


async def test_it_gathers_what_is_compressed(kafka_bootstrap: str, topic_prefix: str) -> None:
    async with open_log(kafka_bootstrap, topic_prefix, "gzip") as log:
        await log.until_open()
        await log.write("type.started", value=b"x" * 1_000)
        assert await log.sees(dict.fromkeys(log.places, 0), LONG)

        assert await log.gathers(0, 0) == [([b"x" * 1_000], 1)]


async def test_a_batch_that_does_not_fit_into_the_answer_beside_others_is_left_to_others(log: Log) -> None:
    await log.until_open()
    large = b"x" * 400_000
    await log.write("type.ended", 1, large)
    assert await log.gathers(0, 0) == [([large], 1)]  # Kafka leaves out none that is the first

    await log.write("type.ended", 0)
    assert await log.gathers(0, 0) is None
    assert await log.gathers(1, 0) == [([large], 1)]


async def test_it_gathers_also_while_there_is_a_look(log: Log) -> None:
    assert await log.gathers(0, 0) is None  # there is no connection yet
    await log.until_open()
    await log.write("type.started")
    looking = asyncio.create_task(log.sees(dict.fromkeys(log.places, 0), LONG))
    await asyncio.sleep(0.1)

    assert await log.gathers(0, 0) == [([b"{}"], 1)]
    assert await log.gathers(1 << 41, 0) is None  # Kafka has nothing to say of such an offset
    assert not looking.done()
    await log.write("type.ended")
    assert await looking


async def test_a_broker_that_does_not_answer_is_left_to_others_until_it_does(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.until_open()
    await log.write("type.ended")
    monkeypatch.setattr(gathering, "_SECONDS", 0.1)
    [line] = log._gathering._leaders._lines._lines.values()
    reading = cast("asyncio.ReadTransport", line._transport)
    reading.pause_reading()
    assert await log.gathers(0, 0) is None
    assert await log.gathers(0, 0) is None, "what was asked is still under way"

    reading.resume_reading()
    await line.quiet.wait()
    monkeypatch.undo()
    assert await log.gathers(0, 0) == [([b"{}"], 1)]
