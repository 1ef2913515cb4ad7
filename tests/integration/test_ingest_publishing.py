"""The group publisher and the views, on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sagahook.runtime.clock import SystemClock
from sagahook.runtime.tail import Tail
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.adapters.groups import Lost, Published
from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.adapters.views import apply_to_answers
from sagahook_ingest.domain.first_answers import FirstAnswers
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.domain.webhook import OnceOnly, Webhook
from sagahook_ingest.handlers import Receipt, Receiver
from sagahook_schemas.definitions import SagaDefinition, TriggerDefinition
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from tests.ingest_harness import PARTITIONS, Log, deploy, serving, settings_for, write_definition

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def webhook(body: bytes, key: str | None = None) -> Webhook:
    return Webhook(
        source="orders",
        event_type="",
        time=NOW,
        correlation_id="c",
        content_type="application/json",
        body=body,
        once=(OnceOnly.of_key("orders", key, body),) if key else (),
    )


@asynccontextmanager
async def publishing(log: Log, *, max_records: int = 10_000) -> AsyncIterator[GroupPublisher]:
    publisher = GroupPublisher(
        log.bootstrap, log.topic, PARTITIONS, timeout=5, max_records=max_records, max_bytes=64 * 2**20
    )
    running = asyncio.create_task(publisher.run())
    try:
        await publisher.connected.wait()
        yield publisher
    finally:
        running.cancel()
        await asyncio.wait({running})


async def make_topic(log: Log, **config: str) -> None:
    """Only `webhooks.received`, which is all that the publisher needs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=log.bootstrap)
    await admin.start()
    try:
        largest = WEBHOOKS_RECEIVED.config()
        topic = NewTopic(log.topic, PARTITIONS, 1, topic_configs=largest | config)
        await admin.create_topics([topic])
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> Log:
    log = Log(kafka_bootstrap, topic_prefix)
    await make_topic(log)
    return log


@pytest_asyncio.fixture
async def deployment(kafka_bootstrap: str, topic_prefix: str) -> Log:
    """All the topics."""
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    return Log(kafka_bootstrap, topic_prefix)


async def test_every_webhook_lies_once_where_its_answer_says_and_its_id_belongs(log: Log) -> None:
    bodies = [b"%d" % number for number in range(1_000)]
    async with publishing(log) as publisher:
        answers: list[Published] = await asyncio.gather(*(publisher.publish(webhook(b)) for b in bodies))
        assert publisher.held == 0
    told = {
        (answer.event_id, answer.partition, answer.offset, body)
        for answer, body in zip(answers, bodies, strict=True)
    }
    records = await log.read()
    assert {(r.key.decode(), r.partition, r.offset, r.value) for r in records} == told
    assert all(partition_of(r.key.decode(), PARTITIONS) == r.partition for r in records)


async def test_groups_spread_over_the_partitions(log: Log) -> None:
    async with publishing(log) as publisher:
        for number in range(2 * PARTITIONS):
            await publisher.publish(webhook(b"%d" % number))
    by_partition = [record.partition for record in await log.read()]
    assert [by_partition.count(partition) for partition in range(PARTITIONS)] == [2] * PARTITIONS


async def test_webhooks_under_one_key_lie_in_one_partition(log: Log) -> None:
    async with publishing(log) as publisher:
        waiting = [publisher.publish(webhook(b"1", key)) for key in "abcdefgh" for _ in range(3)]
        waiting += [publisher.publish(webhook(b"2")) for _ in range(50)]
        answers = await asyncio.gather(*waiting)
    for index in range(0, 24, 3):
        assert len({answer.partition for answer in answers[index : index + 3]}) == 1


async def test_the_largest_body_is_published_whole_beside_small_ones(log: Log) -> None:
    large = b'"' + b"x" * (25 * 2**20 - 2) + b'"'
    async with publishing(log) as publisher:
        answers = await asyncio.gather(*(publisher.publish(webhook(body)) for body in (b"1", large, b"2")))
    records = {record.key.decode(): record.value for record in await log.read()}
    assert [records[answer.event_id] for answer in answers] == [b"1", large, b"2"]


async def test_beyond_its_bounds_it_takes_nothing(log: Log) -> None:
    async with publishing(log, max_records=2) as publisher:
        waiting = [publisher.publish(webhook(b"1")) for _ in range(2)]
        with pytest.raises(Unavailable):
            publisher.publish(webhook(b"2"))
        await asyncio.gather(*waiting)
        await publisher.publish(webhook(b"3"))
    assert sorted(record.value for record in await log.read()) == [b"1", b"1", b"3"]


async def test_after_a_record_that_kafka_refuses_it_goes_on_with_a_new_producer(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    log = Log(kafka_bootstrap, topic_prefix)
    await make_topic(log, **{"max.message.bytes": "2000"})
    settled: list[Published | Lost] = []
    async with publishing(log) as publisher:
        with pytest.raises(Unavailable):
            await publisher.publish(webhook(b"x" * 3_000), settled.append)
        for number in range(2 * PARTITIONS):
            await publisher.publish(webhook(b"%d" % number), settled.append)
    assert settled[0] is Lost.UNKNOWN
    assert [isinstance(answer, Published) for answer in settled[1:]] == [True] * (2 * PARTITIONS)
    assert len(await log.read()) == 2 * PARTITIONS


@asynccontextmanager
async def receiving(log: Log) -> AsyncIterator[Receiver]:
    """A replica's publisher and what it remembers, without its HTTP."""
    answers = FirstAnswers(window=timedelta(hours=1), limit=100)
    tail = Tail(log.bootstrap, log.topic, PARTITIONS, apply_to_answers(answers))
    async with publishing(log) as publisher:
        receiver = Receiver(publisher, answers, SystemClock(), tail.pass_end, timeout=10)
        running = [asyncio.create_task(each.run()) for each in (tail, receiver)]
        yield receiver
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def received(receiver: Receiver, body: bytes, key: str) -> Receipt | Unavailable:
    try:
        return await receiver.receive(replace(webhook(body, key), time=datetime.now(UTC)))
    except Unavailable as later:
        return later


async def test_a_key_of_which_kafka_did_not_say_whether_it_has_it_is_settled_by_the_log(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    log = Log(kafka_bootstrap, topic_prefix)
    await make_topic(log, **{"max.message.bytes": "10000"})
    async with receiving(log) as receiver:
        # Kafka refuses the large one, and the producer goes down with whatever else it had under way.
        bodies = {f"key-{number}": b"%d" % number for number in range(12)}
        large = asyncio.create_task(received(receiver, b"x" * 20_000, "large"))
        first = await asyncio.gather(*(received(receiver, body, key) for key, body in bodies.items()))
        assert isinstance(await large, Unavailable)
        again = await asyncio.gather(*(received(receiver, body, key) for key, body in bodies.items()))
        for before, after in zip(first, again, strict=True):
            assert isinstance(after, Receipt)
            assert isinstance(before, Unavailable) or before.event_id == after.event_id
        assert isinstance(await received(receiver, b"small", "large"), Receipt)
    assert sorted(record.value for record in await log.read()) == sorted([*bodies.values(), b"small"])


async def test_it_ends_when_it_is_told_to_also_while_it_replaces_its_producer(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    log = Log(kafka_bootstrap, topic_prefix)
    await make_topic(log, **{"max.message.bytes": "2000"})
    for pause in (0.0, 0.001, 0.002, 0.005):
        async with asyncio.timeout(10), publishing(log) as publisher:
            with pytest.raises(Unavailable):
                await publisher.publish(webhook(b"x" * 3_000))
            await asyncio.sleep(pause)


async def test_a_tail_finds_what_is_wanted_in_compressed_batches_and_passes_over_markers(log: Log) -> None:
    found: list[bytes | None] = []
    async with AIOKafkaProducer(bootstrap_servers=log.bootstrap, compression_type="gzip") as zipped:
        await zipped.send_and_wait(log.topic, b"zipped wanted", partition=0)
    async with AIOKafkaProducer(bootstrap_servers=log.bootstrap, transactional_id=log.prefix) as writer:
        async with writer.transaction():
            await writer.send_and_wait(log.topic, b"wanted", partition=1)
        async with writer.transaction():
            await writer.send_and_wait(log.topic, b"other", partition=2)
    tail = Tail(
        log.bootstrap,
        log.topic,
        PARTITIONS,
        lambda _, record: found.append(record.value),
        wanted=(b"absent", b"wanted"),
    )
    running = asyncio.create_task(tail.run())
    async with asyncio.timeout(10):
        await tail.caught_up.wait()
    running.cancel()
    await asyncio.wait({running})
    assert sorted(value for value in found if value) == [b"wanted", b"zipped wanted"]


async def test_a_source_is_known_as_soon_as_a_saga_is_deployed_for_it_and_gone_with_it(
    deployment: Log,
) -> None:
    async with serving(settings_for(deployment.bootstrap, deployment.prefix)) as ingest:
        assert (await ingest.post("/webhooks/parcels")).status == 404
        await deploy(
            deployment.bootstrap, deployment.prefix, TriggerDefinition(source="parcels"), name="parcel"
        )
        async with asyncio.timeout(10):
            while (await ingest.post("/webhooks/parcels")).status != 202:
                await asyncio.sleep(0.02)
        await write_definition(deployment.bootstrap, deployment.prefix, "parcel@1", None)
        async with asyncio.timeout(10):
            while (await ingest.post("/webhooks/parcels")).status != 404:
                await asyncio.sleep(0.02)


async def test_what_no_reader_understands_in_the_definitions_is_passed_over(deployment: Log) -> None:
    broken = SagaDefinition.model_construct(name="x", version=1, triggers="none", steps=())  # type: ignore[arg-type]  # broken on purpose
    with pytest.warns(UserWarning, match="serializ"):
        await write_definition(deployment.bootstrap, deployment.prefix, "x@1", broken)
    await deploy(deployment.bootstrap, deployment.prefix, TriggerDefinition(source="parcels"))
    async with serving(settings_for(deployment.bootstrap, deployment.prefix)) as ingest:
        assert (await ingest.post("/webhooks/parcels")).status == 202
