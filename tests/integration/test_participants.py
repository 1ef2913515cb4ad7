"""Participants over a real broker, their memory in a real PostgreSQL, and the way of their replies to the sagas."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from orjson import dumps, loads

from sagahook.runtime.clock import SystemClock
from sagahook.runtime.partitions import PartitionedConsumer
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.topics import TopicsMismatch, ensure_topics
from sagahook.runtime.transactions import TransactionalWriter
from sagahook.saga.participant import Inbox, MemoryInbox, Participant, PostgresInbox, Request
from sagahook_runner.adapters.deploy import ensure_participant_topics
from sagahook_runner.adapters.participants import request_record
from sagahook_runner.adapters.records import Stamp
from sagahook_runner.handlers.rekey import RepliesHost, replies_group
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import partition_of
from sagahook_schemas.participants import AskedPhase, ParticipantReplied
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_REPLIES, Topic, steps_topic

PARTITIONS = 2
BILLING = steps_topic("billing")
ORDER = SagaDefinition(
    name="order",
    version=1,
    triggers=(),
    steps=(
        StepDefinition(name="charge", timeout=30, retry=Retry(), does="participant", participant="billing"),
    ),
)


@dataclass
class World:
    """A deployment's topics, the runner's part of the way, and what is to be seen in Kafka."""

    settings: ServiceSettings
    background: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)

    def start(self, run: Callable[[asyncio.Event], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """In the background; what is returned stops it."""
        stopping = asyncio.Event()

        async def until_stopped() -> None:
            await run(stopping)

        task = asyncio.create_task(until_stopped())
        self.background.append((stopping, task))

        async def stop() -> None:
            stopping.set()
            await task

        return stop

    def start_forwarding(self) -> Callable[[], Awaitable[None]]:
        consumer = PartitionedConsumer(
            bootstrap=self.settings.kafka,
            group=replies_group(self.settings),
            topic=self.settings.topic(SAGA_REPLIES),
            host=RepliesHost(self.settings, SystemClock(), PARTITIONS),
            session_timeout=2,
        )
        return self.start(lambda stopping: consumer.run(stopping, lambda: None))

    def participant(self, inbox: Inbox, **options: Any) -> Participant:
        return Participant(
            "billing",
            kafka=self.settings.kafka,
            topic_prefix=self.settings.topic_prefix,
            inbox=inbox,
            **options,
        )

    async def ask(self, *requests: dict[str, Any]) -> None:
        """As an owner does, in a transaction."""
        writer = TransactionalWriter(self.settings.kafka, f"{self.settings.topic_prefix}-owner")
        await writer.start()
        await writer.commit([request(self.settings, **each) for each in requests], {}, "none")
        await writer.abandon()

    async def publish(self, topic: Topic, *values: bytes) -> None:
        """As any client does: no header, no key, on whatever partition."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka)
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(self.settings.topic(topic), value)
        finally:
            await producer.stop()

    async def read(self, topic: Topic, count: int) -> list[ConsumerRecord[Any, Any]]:
        """The topic's records, once there are so many; in the order of each partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, isolation_level="read_committed")
        await consumer.start()
        found: list[ConsumerRecord[Any, Any]] = []
        try:
            consumer.assign([TopicPartition(self.settings.topic(topic), each) for each in range(PARTITIONS)])
            await consumer.seek_to_beginning()
            async with asyncio.timeout(30):
                while len(found) < count:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        found += records
            return found
        finally:
            await consumer.stop()

    async def replies(self, count: int) -> list[ParticipantReplied]:
        return [
            ParticipantReplied.model_validate_json(record.value)
            for record in await self.read(SAGA_REPLIES, count)
        ]


def request(
    settings: ServiceSettings, saga_id: str, *, phase: Any = "action", attempt: int = 1, data: Any = None
) -> Any:
    now = datetime.now(UTC)
    return request_record(
        settings,
        participant="billing",
        saga="order",
        saga_id=saga_id,
        run=1,
        step="charge",
        phase=phase,
        attempt=attempt,
        correlation_id=f"c-{saga_id}",
        data=data,
        result=None,
        times_out_at=now + timedelta(seconds=30),
        partition=partition_of(saga_id, PARTITIONS),
        stamp=Stamp(now, epoch=1),
    )


def attempt(saga_id: str, **outcome: Any) -> bytes:
    return dumps({"saga_id": saga_id, "run": 1, "step": "charge", "phase": "action", "attempt": 1, **outcome})


@pytest_asyncio.fixture
async def world(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[World]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    opened = World(ServiceSettings(kafka=kafka_bootstrap, topic_prefix=topic_prefix))
    await ensure_participant_topics(opened.settings, [ORDER], PARTITIONS, asyncio.Event())
    yield opened
    for stopping, _ in opened.background:
        stopping.set()
    await asyncio.gather(*(task for _, task in opened.background), return_exceptions=True)


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=16) as opened:
        await opened.execute("CREATE TABLE charges (key text, cents integer)")
        yield opened


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def inbox(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Inbox]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=8) as pool:
        postgres = PostgresInbox(pool)
        await asyncio.gather(postgres.create(), postgres.create())
        yield MemoryInbox() if request.param == "memory" else postgres


# -- what every inbox does ------------------------------------------------------------------------------------

KEY = "saga/1/charge/action"
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def outcome(phase: Any = "action", **fields: Any) -> ParticipantReplied:
    return ParticipantReplied(run=1, step="charge", phase=phase, attempt=1, **fields)


async def remembered(inbox: Inbox, key: str = KEY) -> dict[AskedPhase, ParticipantReplied]:
    async with inbox.open(key) as transaction:
        return dict(await transaction.replies())


async def test_an_inbox_remembers_the_last_reply_of_each_phase(inbox: Inbox) -> None:
    for reply in (outcome(error="busy"), outcome(result={"id": 9}), outcome("compensation")):
        async with inbox.open(KEY) as transaction:
            await transaction.remember(reply, NOW)

    assert await remembered(inbox) == {
        "action": outcome(result={"id": 9}),
        "compensation": outcome("compensation"),
    }
    assert await remembered(inbox, "saga/2/charge/action") == {}


async def test_an_inbox_remembers_nothing_of_a_transaction_that_failed(inbox: Inbox) -> None:
    async def fail() -> None:
        async with inbox.open(KEY) as transaction:
            await transaction.remember(outcome(), NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await remembered(inbox) == {}


async def test_an_inbox_remembers_what_is_said_after_an_attempt_that_failed(inbox: Inbox) -> None:
    async with inbox.open(KEY) as transaction:
        with pytest.raises(RuntimeError):
            async with transaction.attempt():
                raise RuntimeError
        await transaction.remember(outcome(error="RuntimeError"), NOW)

    assert await remembered(inbox) == {"action": outcome(error="RuntimeError")}


async def test_an_inbox_lets_one_at_a_time_look_at_a_step_and_others_at_other_steps(inbox: Inbox) -> None:
    order: list[str] = []
    inside, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with inbox.open(KEY) as transaction:
            inside.set()
            await leave.wait()
            order.append("first")
            await transaction.remember(outcome(), NOW)

    async def second() -> None:
        async with inbox.open(KEY) as transaction:
            order.append(f"second sees {len(await transaction.replies())}")

    holding = asyncio.create_task(first())
    await inside.wait()
    waiting = asyncio.create_task(second())
    assert await remembered(inbox, "another step") == {}
    leave.set()
    await asyncio.gather(holding, waiting)
    assert order == ["first", "second sees 1"]


async def test_an_inbox_forgets_what_is_old_enough(inbox: Inbox) -> None:
    for key, at in (("old", NOW - timedelta(days=31)), ("new", NOW)):
        async with inbox.open(key) as transaction:
            await transaction.remember(outcome(), at)

    assert await inbox.forget(NOW - timedelta(days=30)) == 1
    assert (await remembered(inbox, "old"), await remembered(inbox, "new")) == ({}, {"action": outcome()})


def test_a_table_is_named_by_nothing_but_a_name() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        PostgresInbox(None, "inbox; DROP TABLE charges")


# -- the kit --------------------------------------------------------------------------------------------------


async def charge(request: Request, connection: Any) -> dict[str, Any]:
    """Refuses what is too dear, after it has written."""
    await connection.execute(
        "INSERT INTO charges VALUES ($1, $2)", request.idempotency_key, request.data["cents"]
    )
    if request.data["cents"] > 1000:
        raise ValueError("too dear")
    return {"charged": request.data["cents"]}


async def test_every_request_is_answered_and_an_effect_is_there_with_its_memory_or_not_at_all(
    world: World, pool: Any
) -> None:
    inbox = PostgresInbox(pool)
    await inbox.create()
    billing = world.participant(inbox)
    billing.action("charge")(charge)
    sagas = [str(uuid4()) for _ in range(20)]
    world.start(billing.run)

    await world.ask(*({"saga_id": each, "data": {"cents": 100 * n}} for n, each in enumerate(sagas)))
    replies = {reply.saga_id: reply for reply in await world.replies(20)}
    assert [replies[each].error for each in sagas] == [None] * 11 + ["ValueError: too dear"] * 9
    assert [replies[each].result for each in sagas[:11]] == [{"charged": 100 * n} for n in range(11)]
    assert await pool.fetchval("SELECT count(*) FROM charges") == 11


async def test_a_reply_carries_on_what_the_request_came_with(world: World) -> None:
    billing = world.participant(MemoryInbox())
    billing.action("charge")(lambda request: request.correlation_id)
    world.start(billing.run)
    saga_id = str(uuid4())

    await world.ask({"saga_id": saga_id})
    [record] = await world.read(SAGA_REPLIES, 1)
    headers = dict(record.headers)
    assert (headers["ce_correlationid"], headers["ce_sagaid"]) == (f"c-{saga_id}".encode(), saga_id.encode())
    assert loads(record.value)["result"] == f"c-{saga_id}"


async def test_whoever_reads_the_requests_again_answers_the_same_and_does_nothing(
    world: World, pool: Any
) -> None:
    """As a participant does that was killed before it could commit its offsets."""
    inbox = PostgresInbox(pool)
    await inbox.create()
    sagas = [str(uuid4()) for _ in range(10)]
    await world.ask(*({"saga_id": each, "data": {"cents": 5}} for each in sagas))
    for replica in ("first", "second"):
        billing = world.participant(inbox, group=f"{world.settings.topic_prefix}-{replica}")
        billing.action("charge")(charge)
        stop = world.start(billing.run)
        await world.replies(10 if replica == "first" else 20)
        await stop()

    replies = await world.replies(20)
    assert all(replies.count(reply) == 1 or reply.result == {"charged": 5} for reply in replies)
    assert await pool.fetchval("SELECT count(*) FROM charges") == 10


async def test_replicas_that_come_and_go_do_every_step_once(world: World, pool: Any) -> None:
    inbox = PostgresInbox(pool)
    await inbox.create()

    def start_replica() -> Callable[[], Awaitable[None]]:
        billing = world.participant(inbox, concurrency=4)
        billing.action("charge")(charge)
        return world.start(billing.run)

    stop_first = start_replica()
    for number in range(3):
        await world.ask(*({"saga_id": str(uuid4()), "data": {"cents": 1}} for _ in range(50)))
        if number == 1:
            start_replica()
    await world.replies(100)
    await stop_first()

    answered: set[str | None] = set()
    async with asyncio.timeout(30):
        while len(answered) < 150:
            answered = {reply.saga_id for reply in await world.replies(150)}
    assert await pool.fetchval("SELECT count(*) FROM charges") == 150


async def test_a_participant_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    seen: list[int] = []
    for number in range(3):
        billing = world.participant(MemoryInbox())
        billing.action("charge")(lambda request: seen.append(request.data))
        await world.ask({"saga_id": str(uuid4()), "data": number})
        stop = world.start(billing.run)
        await world.replies(number + 1)
        await stop()

    assert seen == [0, 1, 2]


async def test_a_request_that_is_none_is_put_aside_and_the_next_one_is_answered(world: World) -> None:
    billing = world.participant(MemoryInbox())
    billing.action("charge")(lambda request: "done")
    await world.publish(BILLING, b"please charge")
    await world.ask({"saga_id": str(uuid4())})
    world.start(billing.run)

    [aside] = await world.read(BILLING.dead_letters, 1)
    assert aside.value == b"please charge"
    assert "ce_" in dict(aside.headers)["dlqreason"].decode()
    assert (await world.replies(1))[0].result == "done"


async def test_an_inbox_whose_database_was_away_is_asked_again(
    world: World, pool: Any, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = PostgresInbox(pool)  # its table is not there yet
    billing = world.participant(inbox)
    billing.action("charge")(charge)
    world.start(billing.run)
    await world.ask({"saga_id": str(uuid4()), "data": {"cents": 5}})
    async with asyncio.timeout(30):
        while "trying again" not in caplog.text:
            await asyncio.sleep(0.02)
    await inbox.create()

    assert (await world.replies(1))[0].result == {"charged": 5}


# -- the way of the replies -----------------------------------------------------------------------------------


async def test_replies_of_any_client_reach_the_partition_of_their_saga_once_over_any_change_of_forwarders(
    world: World,
) -> None:
    sagas = [str(uuid4()) for _ in range(60)]
    stop_first = world.start_forwarding()
    await world.publish(SAGA_REPLIES, *(attempt(each, result=each) for each in sagas[:20]))
    await world.read(SAGA_COMMANDS, 20)
    world.start_forwarding()
    await world.publish(SAGA_REPLIES, *(attempt(each, result=each) for each in sagas[20:40]))
    await stop_first()
    await world.publish(SAGA_REPLIES, *(attempt(each, result=each) for each in sagas[40:]))

    commands = await world.read(SAGA_COMMANDS, 60)
    assert sorted(record.key.decode() for record in commands) == sorted(sagas)
    assert all(partition_of(record.key.decode(), PARTITIONS) == record.partition for record in commands)
    assert all(loads(record.value)["result"] == record.key.decode() for record in commands)


async def test_a_reply_that_cannot_be_read_is_put_aside_with_the_reason_and_holds_up_no_other(
    world: World,
) -> None:
    world.start_forwarding()
    saga_id = str(uuid4())
    await world.publish(SAGA_REPLIES, b"charged!", attempt("o-1"), attempt(saga_id, error="declined"))

    [command] = await world.read(SAGA_COMMANDS, 1)
    aside = await world.read(SAGA_REPLIES.dead_letters, 2)
    reasons = {record.value: dict(record.headers)["dlqreason"].decode() for record in aside}
    assert loads(command.value)["error"] == "declined"
    assert "Invalid JSON" in reasons[b"charged!"]
    assert "'o-1' is no saga id" in reasons[attempt("o-1")]


async def test_many_large_replies_are_more_than_one_transaction_and_all_arrive(world: World) -> None:
    sagas = [str(uuid4()) for _ in range(24)]
    await world.publish(SAGA_REPLIES, *(attempt(each, result="x" * 200_000) for each in sagas))
    world.start_forwarding()

    assert {record.key.decode() for record in await world.read(SAGA_COMMANDS, 24)} == set(sagas)


async def test_a_request_comes_back_as_the_completion_of_its_step(world: World) -> None:
    billing = world.participant(MemoryInbox())
    billing.action("charge")(lambda request: {"charged": request.data["cents"]})
    billing.compensation("charge")(lambda request: None)
    world.start(billing.run)
    world.start_forwarding()
    saga_id = str(uuid4())

    await world.ask(
        {"saga_id": saga_id, "data": {"cents": 5}},
        {"saga_id": saga_id, "phase": "compensation", "attempt": 2},
    )
    done, undone = await world.read(SAGA_COMMANDS, 2)
    assert [loads(each.value)["phase"] for each in (done, undone)] == ["action", "compensation"]
    assert loads(done.value)["result"] == {"charged": 5}
    assert loads(undone.value)["attempt"] == 2
    assert dict(done.headers)["ce_correlationid"] == f"c-{saga_id}".encode()


# -- their topics ---------------------------------------------------------------------------------------------


async def test_the_topics_of_a_participant_are_made_once_with_the_partitions_of_the_deployment(
    world: World,
) -> None:
    await ensure_participant_topics(world.settings, [ORDER], PARTITIONS, asyncio.Event())

    with pytest.raises(TopicsMismatch, match="has 2 partitions, not 3"):
        await ensure_participant_topics(world.settings, [ORDER], 3, asyncio.Event())
