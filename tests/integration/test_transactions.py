"""`TransactionalWriter` on a real broker: nothing of a fenced or ambiguous transaction ever shows in another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.transaction import EndTxnRequest

from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import CommitUnknown, Fenced, TransactionalWriter
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS
from tests.kafka_transactions import arrived, committed, record


@pytest_asyncio.fixture
async def topic(kafka_bootstrap: str, topic_prefix: str) -> str:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    return SAGA_EVENTS.name(topic_prefix)


MakeWriter = Callable[..., Awaitable[TransactionalWriter]]


@pytest_asyncio.fixture
async def make_writer(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[MakeWriter]:
    made: list[TransactionalWriter] = []

    async def make(commit_timeout: float = 8.0) -> TransactionalWriter:
        writer = TransactionalWriter(kafka_bootstrap, f"{topic_prefix}-writer", commit_timeout=commit_timeout)
        made.append(writer)
        await writer.start()
        return writer

    yield make
    for writer in made:
        await writer.abandon()


def hold_commits(writer: TransactionalWriter, *, before: asyncio.Event) -> list[Any]:
    """The network takes its time: each EndTxn is sent only after `before`; the list fills with their answers."""
    client = writer._producer.client
    send = client.send
    answers: list[Any] = []

    async def late(node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, EndTxnRequest):
            return await send(node, request, **options)

        async def deliver() -> Any:
            await before.wait()
            answers.append(await send(node, request, **options))
            return answers[-1]

        return await asyncio.shield(asyncio.ensure_future(deliver()))

    client.send = late
    return answers


async def test_records_and_offsets_of_one_call_show_together(
    kafka_bootstrap: str, topic: str, topic_prefix: str, make_writer: MakeWriter
) -> None:
    writer = await make_writer()
    source = TopicPartition(SAGA_COMMANDS.name(topic_prefix), 0)
    await writer.commit([record(topic, "a"), record(topic, "b")], {source: 7}, f"{topic_prefix}-group")
    assert await committed(kafka_bootstrap, topic) == ["a", "b"]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap, group_id=f"{topic_prefix}-group")
    await consumer.start()
    assert await consumer.committed(source) == 7
    await consumer.stop()


async def test_a_transaction_larger_than_one_batch_is_still_one_transaction(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    writer = await make_writer()
    values = [f"{number:04}" + "x" * 100_000 for number in range(30)]
    await writer.commit([record(topic, value) for value in values], {}, "group")
    assert await committed(kafka_bootstrap, topic) == values


async def test_a_writer_whose_id_was_taken_over_is_fenced_at_its_first_send(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    stalled = await make_writer()
    await stalled.commit([record(topic, "before")], {}, "group")
    rightful = await make_writer()
    with pytest.raises(Fenced):
        await stalled.commit([record(topic, "zombie")], {}, "group")
    await rightful.commit([record(topic, "after")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["before", "after"]


async def test_what_a_dead_writer_left_open_is_aborted_by_the_next_one(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    dead = await make_writer()
    await dead._producer.begin_transaction()
    await arrived(dead, record(topic, "half done"))
    rightful = await make_writer()
    await rightful.commit([record(topic, "whole")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["whole"]


async def test_a_commit_that_arrives_after_its_time_out_ends_no_later_transaction(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    release = asyncio.Event()
    slow = await make_writer(commit_timeout=1.0)
    answers = hold_commits(slow, before=release)
    with pytest.raises(CommitUnknown):
        await slow.commit([record(topic, "slow")], {}, "group")
    rightful = await make_writer()
    await rightful._producer.begin_transaction()
    await arrived(rightful, record(topic, "not yet committed"))
    release.set()
    async with asyncio.timeout(10):
        while not answers:
            await asyncio.sleep(0.01)
    assert answers[0].error_code != 0, "the broker must refuse the late commit by its epoch"
    assert await committed(kafka_bootstrap, topic) == []
    await rightful._producer.commit_transaction()
    assert await committed(kafka_bootstrap, topic) == ["not yet committed"]


async def test_a_commit_whose_answer_is_late_counts_once_and_the_next_writer_sees_it(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    slow = await make_writer(commit_timeout=1.0)
    client, send = slow._producer.client, slow._producer.client.send

    async def answer_late(node: int, request: Any, **options: Any) -> Any:
        answer = await send(node, request, **options)
        if isinstance(request, EndTxnRequest):
            await asyncio.sleep(60)
        return answer

    client.send = answer_late
    with pytest.raises(CommitUnknown):
        await slow.commit([record(topic, "landed")], {}, "group")
    await slow.abandon()
    rightful = await make_writer()
    assert await committed(kafka_bootstrap, topic) == ["landed"]
    await rightful.commit([record(topic, "next")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["landed", "next"]


async def test_a_writer_that_missed_an_answer_does_not_go_on_after_its_request_was_repeated(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    """Else the first request, still on its way, would end the next transaction in its middle."""
    writer = await make_writer()
    client, send = writer._producer.client, writer._send_request
    missed: list[Any] = []

    async def lose_the_first_answer(node: int, request: Any, **options: Any) -> Any:
        if isinstance(request, EndTxnRequest) and not missed:
            missed.append(request)
            raise RequestTimedOutError()
        return await send(node, request, **options)

    writer._send_request = lose_the_first_answer
    with pytest.raises(CommitUnknown):
        await writer.commit([record(topic, "repeated")], {}, "group")
    assert client.send == writer._send_and_notice
    rightful = await make_writer()
    await rightful.commit([record(topic, "next")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["repeated", "next"]


async def test_batches_without_a_transaction_and_transactions_take_turns(
    kafka_bootstrap: str, topic: str, topic_prefix: str, make_writer: MakeWriter
) -> None:
    writer = await make_writer()
    events = TopicPartition(topic, 0)
    await writer.commit([record(topic, "begun")], {}, "group")
    writer.alone_in(events)
    ends = [
        await writer.commit([record(topic, value) for value in values], offsets, f"{topic_prefix}-group")
        for values, offsets in (
            (["a", "b"], {}),
            (["c"], {}),
            (["d"], {TopicPartition(SAGA_COMMANDS.name(topic_prefix), 0): 7}),
            (["e"], {}),
        )
    ]
    assert await committed(kafka_bootstrap, topic) == ["begun", "a", "b", "c", "d", "e"]
    # Behind the first record and behind "d" stands the end of a transaction.
    assert [end[events] for end in ends] == [4, 5, 6, 8]


async def test_what_one_batch_cannot_hold_is_written_in_a_transaction(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    writer = await make_writer()
    await writer.commit([record(topic, "begun")], {}, "group")
    writer.alone_in(TopicPartition(topic, 0))
    values = [f"{number:04}" + "x" * 100_000 for number in range(12)]
    ends = await writer.commit([record(topic, value) for value in values], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["begun", *values]
    after = await writer.commit([record(topic, "next")], {}, "group")
    partition = TopicPartition(topic, 0)
    assert after[partition] - ends[partition] == 2, "the end of the transaction, and the record"


async def test_a_batch_of_an_earlier_writer_is_refused_once_the_next_one_has_written(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    stalled = await make_writer()
    await stalled.commit([record(topic, "before")], {}, "group")
    stalled.alone_in(TopicPartition(topic, 0))
    rightful = await make_writer()
    await rightful.commit([record(topic, "mine")], {}, "group")
    with pytest.raises(Fenced):
        await stalled.commit([record(topic, "zombie")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["before", "mine"]


async def test_a_batch_whose_answer_was_missed_is_not_written_twice(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    writer = await make_writer()
    await writer.commit([record(topic, "begun")], {}, "group")
    writer.alone_in(TopicPartition(topic, 0))
    ask = writer._appends._ask

    async def lose_the_answer(
        leader: int, batches: Mapping[TopicPartition, bytes]
    ) -> dict[TopicPartition, int]:
        if not await ask(leader, batches):
            return {}  # refused, because the markers of the transaction are not written yet
        raise RequestTimedOutError()

    writer._appends._ask = lose_the_answer  # type: ignore[method-assign]  # a network that loses it
    with pytest.raises(CommitUnknown):
        await writer.commit([record(topic, "landed")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["begun", "landed"]


async def test_what_an_earlier_writer_still_sends_is_refused_once_the_next_one_has_claimed_the_partition(
    kafka_bootstrap: str, topic: str, make_writer: MakeWriter
) -> None:
    stalled = await make_writer()
    await stalled.claim(TopicPartition(topic, 0))
    await stalled.commit([record(topic, "before")], {}, "group")
    rightful = await make_writer()
    await stalled.commit([record(topic, "at the last moment")], {}, "group")
    await rightful.claim(TopicPartition(topic, 0))
    assert await committed(kafka_bootstrap, topic) == ["before", "at the last moment"]
    with pytest.raises(Fenced):
        await stalled.commit([record(topic, "zombie")], {}, "group")
    await rightful.commit([record(topic, "mine")], {}, "group")
    assert await committed(kafka_bootstrap, topic) == ["before", "at the last moment", "mine"]


@pytest.mark.parametrize(
    "size", [1, 3], ids=["in one batch", "in a transaction, since one batch is too small"]
)
async def test_what_goes_ahead_is_there_once_the_records_are(
    kafka_bootstrap: str, topic: str, topic_prefix: str, make_writer: MakeWriter, size: int
) -> None:
    commands = SAGA_COMMANDS.name(topic_prefix)
    writer = await make_writer()
    await writer.claim(TopicPartition(topic, 0))
    ahead = [record(commands, f"{number}" + "x" * 400_000) for number in range(size)]
    ends = await writer.commit([record(topic, "told")], {}, "group", ahead=ahead)
    assert await committed(kafka_bootstrap, topic) == ["told"]
    assert [value[0] for value in await committed(kafka_bootstrap, commands)] == [*map(str, range(size))]
    again = await writer.commit([record(topic, "more")], {}, "group", ahead=ahead[:1])
    assert again[TopicPartition(topic, 0)] > ends[TopicPartition(topic, 0)]


async def test_the_records_are_not_written_where_what_goes_ahead_of_them_was_not(
    kafka_bootstrap: str, topic: str, topic_prefix: str, make_writer: MakeWriter
) -> None:
    commands = SAGA_COMMANDS.name(topic_prefix)
    writer = await make_writer()
    await writer.claim(TopicPartition(topic, 0))
    ask = writer._appends._ask

    async def lose_the_answer(
        leader: int, batches: Mapping[TopicPartition, bytes]
    ) -> dict[TopicPartition, int]:
        await ask(leader, batches)
        raise RequestTimedOutError()

    await writer.commit([record(topic, "first")], {}, "group", ahead=[record(commands, "start 1")])
    writer._appends._ask = lose_the_answer  # type: ignore[method-assign]  # a network that loses it
    with pytest.raises(CommitUnknown):
        await writer.commit([record(topic, "second")], {}, "group", ahead=[record(commands, "start 2")])
    assert await committed(kafka_bootstrap, commands) == ["start 1", "start 2"]
    assert await committed(kafka_bootstrap, topic) == ["first"]
