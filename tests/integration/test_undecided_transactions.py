"""Transactions that Kafka decided without writing their markers (docs/decisions/0004), and who makes up for it.

Whether it happens is chance, so the markers are taken out of a stopped broker's log.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.settling import Settling
from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OwnershipLost, TransactionalWriter
from sagahook.runtime.undecided import Reach
from sagahook_schemas.participants import ParticipantReplied
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_REPLIES
from tests.kafka_segments import cut_last_transaction_markers
from tests.kafka_transactions import arrived, committed, record
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness
from tests.runner_log import broken_runs

PREFIX = "undecided"
GROUP = f"{PREFIX}-group"
EVENTS = SAGA_EVENTS.name(PREFIX)
COMMANDS = SAGA_COMMANDS.name(PREFIX)
SOURCE = TopicPartition(COMMANDS, 0)


@pytest_asyncio.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    await kafka.start()
    await ensure_topics(kafka.bootstrap, PREFIX, PARTITIONS)
    yield kafka
    await kafka.stop()


@pytest_asyncio.fixture
async def writers(kafka: EmbeddedKafka) -> AsyncIterator["Writers"]:
    writers = Writers(kafka)
    yield writers
    for writer in writers.made:
        await writer.abandon()


class Writers:
    """Of one transactional id: the next one has the work of the last."""

    def __init__(self, kafka: EmbeddedKafka) -> None:
        self._kafka = kafka
        self.made: list[TransactionalWriter] = []

    def make(self) -> TransactionalWriter:
        reach = Reach(frozenset({TopicPartition(EVENTS, 0), TopicPartition(COMMANDS, 0)}), GROUP)
        self.made.append(TransactionalWriter(self._kafka.bootstrap, f"{PREFIX}-writer", reach=reach))
        return self.made[-1]

    async def take_over(self) -> TransactionalWriter:
        """As who is assigned a partition does: until it goes well."""
        async with asyncio.timeout(30):
            while True:
                writer = self.make()
                try:
                    await writer.start()
                except OwnershipLost:
                    await writer.abandon()
                else:
                    return writer


async def lose_the_markers(kafka: EmbeddedKafka, data: Path, partition: str) -> set[str]:
    await asyncio.sleep(1)  # a commit is answered before its markers are written
    await kafka.stop()
    cut = cut_last_transaction_markers(data / "logs", partition)
    await kafka.start()
    return cut


async def committed_offset(bootstrap: str) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(SOURCE)
        return offset
    finally:
        await consumer.stop()


async def test_the_next_writer_commits_what_its_predecessor_was_told_is_committed(
    kafka: EmbeddedKafka, writers: Writers, tmp_path: Path
) -> None:
    first = await writers.take_over()
    await first.commit([record(EVENTS, "before")], {SOURCE: 1}, GROUP)
    await first.commit([record(EVENTS, "answered")], {SOURCE: 2}, GROUP)
    await first.abandon()
    cut = await lose_the_markers(kafka, tmp_path / "kafka", f"{EVENTS}-0")
    assert len(cut) == 2, "of the records and of the offsets"
    assert await committed(kafka.bootstrap, EVENTS) == ["before"]

    second = await writers.take_over()
    assert await committed(kafka.bootstrap, EVENTS) == ["before", "answered"]
    assert await committed_offset(kafka.bootstrap) == 2
    await second.commit([record(EVENTS, "next")], {}, GROUP)
    assert await committed(kafka.bootstrap, EVENTS) == ["before", "answered", "next"]


async def test_the_next_writer_aborts_what_was_aborted(
    kafka: EmbeddedKafka, writers: Writers, tmp_path: Path
) -> None:
    first = await writers.take_over()
    await first.commit([record(EVENTS, "before")], {}, GROUP)
    await first._producer.begin_transaction()
    await arrived(first, record(EVENTS, "aborted"))
    await first._producer.abort_transaction()
    await first.abandon()
    assert await lose_the_markers(kafka, tmp_path / "kafka", f"{EVENTS}-0") == {f"{EVENTS}-0"}

    second = await writers.take_over()
    await second.commit([record(EVENTS, "next")], {}, GROUP)
    assert await committed(kafka.bootstrap, EVENTS) == ["before", "next"]


async def test_what_a_transaction_lost_in_one_partition_shows_in_no_other(
    kafka: EmbeddedKafka, writers: Writers, tmp_path: Path
) -> None:
    """The fence aborts what is under way, and in the same partition what was undecided before it."""
    first = await writers.take_over()
    await first.commit([record(EVENTS, "answered"), record(COMMANDS, "with it")], {SOURCE: 1}, GROUP)
    cut = await lose_the_markers(kafka, tmp_path / "kafka", f"{EVENTS}-0")
    assert len(cut) == 3, "of the event, of the command and of the offset"
    await first._producer.begin_transaction()
    await arrived(first, record(EVENTS, "not ended"))

    await writers.take_over()
    assert await committed(kafka.bootstrap, EVENTS) == []
    assert await committed(kafka.bootstrap, COMMANDS) == []
    assert await committed_offset(kafka.bootstrap) is None


async def test_what_was_committed_is_still_known_where_the_one_who_fenced_came_no_further(
    kafka: EmbeddedKafka, writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await writers.take_over()
    await first.commit([record(EVENTS, "answered")], {}, GROUP)
    await first.abandon()
    await lose_the_markers(kafka, tmp_path / "kafka", f"{EVENTS}-0")

    fenced = asyncio.Event()

    async def come_no_further(settling: Settling, left: object) -> None:
        fenced.set()
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Settling, "settle", come_no_further)
        while not fenced.is_set():
            with pytest.raises(OwnershipLost):
                await writers.make().start()
    await writers.take_over()
    assert await committed(kafka.bootstrap, EVENTS) == ["answered"]


async def test_a_saga_goes_on_from_a_transaction_whose_markers_were_lost(
    kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    # What asks a participant is in the transaction that begins the saga; events alone would be in none.
    runners = RunnerHarness(kafka.bootstrap, PREFIX, tmp_path, app="tests.apps.billed")
    try:
        first = await runners.start_runner()
        await runners.wait_for_log("owner.acquired", PARTITIONS)
        await runners.publish([{"id": "1", "does": "ok"}], "billed")
        scheduled = (await runners.wait_for_log("step.scheduled", 2))[
            -1
        ]  # the first one makes what it is asked
        first.kill()
        await first.wait()
        lost = await lose_the_markers(kafka, tmp_path / "kafka", f"{EVENTS}-{scheduled.partition}")
        assert f"{EVENTS}-{scheduled.partition}" in lost
        await runners.start_runner()
        await refuse(kafka, scheduled)
        events = await runners.read_until_final(1)
        assert broken_runs(events) == {}
        kinds = [event.kind for event in events if event.envelope.saga_id]
        assert (kinds[0], kinds.count("step.scheduled"), kinds[-1]) == ("saga.started", 2, "saga.rolled_back")
    finally:
        await runners.stop()


async def refuse(kafka: EmbeddedKafka, scheduled: LogEvent) -> None:
    """As the participant that was asked."""
    refused = ParticipantReplied(
        saga_id=scheduled.envelope.saga_id,
        run=scheduled.envelope.run,
        step=scheduled.data["step"],
        phase="action",
        attempt=1,
        error="no",
        retryable=False,
    )
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(SAGA_REPLIES.name(PREFIX), refused.to_json())
