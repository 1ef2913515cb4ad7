"""The projector on real Kafka and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain

import pytest
import pytest_asyncio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.batches import OffsetsMoved
from sagahook.runtime.database import open_pool
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.sagas import SagaAdmitted, SagaProgressed, SagaResumed, SagaSuspended, SlotRequested
from sagahook_schemas.topics import SAGA_EVENTS
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.schema import view_tables
from sagahook_tracker.handlers import project
from sagahook_tracker.projector import Projector
from tests.databases import open_migrated_database
from tests.projected_log import batch_of
from tests.tracker_harness import Tracker, Wire, open_tracker, tracker_settings
from tests.tracker_log import T0, SagaLog, Written, controlled, deployed, of_a_limit, received, routed


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


def story(number: int) -> list[list[Written]]:
    """One webhook and a second that joins its saga: what each topic holds of them, in order."""
    first, second, saga = f"e{number}", f"e{number}-again", f"s{number}"
    log = SagaLog(saga).started(first, f"c{number}", order=number)
    log = log.declined() if number % 2 else log.done("reserve", "charge", "ship").completed()
    return [
        [received(first, f"c{number}"), received(second, f"c{number}-again")],
        [routed(first, f"c{number}", saga), routed(second, f"c{number}-again", saga)],
        log.joined(second, f"c{number}-again").written,
    ]


async def records_of(tracker: Tracker) -> dict[TopicPartition, list[ConsumerRecord]]:
    """The whole log."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=tracker.settings.kafka,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    found: dict[TopicPartition, list[ConsumerRecord]] = {}
    async with consumer:
        for partition in [
            TopicPartition(topic, number) for topic in tracker.settings.topics for number in (0, 1)
        ]:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            found[partition] = []
            while await consumer.position(partition) < end:
                found[partition] += (await consumer.getmany(timeout_ms=100)).get(partition, [])
    return found


def everything() -> list[Written]:
    """A run whose log fills every column, cut by batches where it may be."""
    log = SagaLog("s-all").started_with(
        attributes={"pr": 7, "note": "a\0b"},
        limit_key="limit/order",
        deadline_at=T0,
        parent=ParentStep(saga_id="parent", run=1, step="ship"),
    )
    log.add(SagaAdmitted(limit_key="limit/order")).done("reserve").awaiting("approve", "approval")
    log.add(SagaProgressed(progress=0.5, message="half")).add(SagaSuspended(reason="lost", cause="losses"))
    log.add(SagaResumed(actor="ada", reason="fixed")).add(SagaSuspended(reason="again", cause="forward"))
    slot = SlotRequested(saga_id="s-all", run=1, name="order", ticket=1)
    return [of_a_limit(slot), *log.joined("e-all", "c-all").written]


def definitions() -> list[Written]:
    """One version, deployed twice, and a pause that was ended."""
    first = SagaDefinition(name="order", version=3, triggers=(), steps=())
    again = deployed(first.model_copy(update={"compensation": "parallel"}))
    pauses = [
        controlled("definition", "order", True),
        controlled("definition", "order", False, reason="a\0b"),
        controlled("source", "shop", True),
    ]
    return [deployed(first), again, *pauses]


async def test_a_run_keeps_everything_that_its_log_says(tracker: Tracker) -> None:
    async with tracker.projecting():
        await tracker.log.write([*everything(), *definitions()])
        await tracker.until_rows(runs=1, definitions=1, links=1, controls=2)
        await tracker.until_caught_up()
    rows = await tracker.rows()
    [run] = rows["runs"]
    assert (run["state"], run["suspended_in"], run["cause"]) == ("SUSPENDED", "EXECUTING", "forward")
    assert (run["attributes"], run["deadline_at"]) == ('{"pr": 7, "note": "a\N{REPLACEMENT CHARACTER}b"}', T0)
    assert (run["progress"], run["message"], run["limit_key"]) == (0.5, "half", "limit/order")
    assert [definition["definition"] for definition in rows["definitions"]] == [
        '{"name":"order","version":3,"triggers":[],"steps":[],"compensation":"parallel"}'
    ]
    assert [(row["kind"], row["name"], row["paused"], row["reason"]) for row in rows["controls"]] == [
        ("definition", "order", False, "a\N{REPLACEMENT CHARACTER}b"),
        ("source", "shop", True, ""),
    ]


class NoDeadLetters:
    async def put(self, record: ConsumerRecord, reason: str) -> None:
        raise AssertionError(reason)


async def test_every_topic_becomes_its_rows(tracker: Tracker) -> None:
    async with tracker.projecting():
        await tracker.log.write(chain(*story(2)))
        await tracker.until_rows(links=2)
    rows = await tracker.rows()
    assert {row["event_id"]: row["correlation_id"] for row in rows["webhooks"]} == {
        "e2": "c2",
        "e2-again": "c2-again",
    }
    assert [row["outcome"] for row in rows["routes"]] == ["triggered", "triggered"]
    [run] = rows["runs"]
    assert (run["saga_id"], run["run"], run["state"], run["sequence"]) == ("s2", 1, "COMPLETED", 9)
    assert run["context"] == '{"order":2}'


async def test_rows_are_the_same_whatever_the_order_of_topics_and_the_size_of_batches(
    tracker: Tracker, kafka_bootstrap: str, topic_prefix: str, postgres_url: str
) -> None:
    """One database from the running projector, another from the same log: the last topic first, by threes."""
    async with tracker.projecting():
        for number in range(10):
            await tracker.log.write(chain(*story(number)))
        await tracker.log.write([*everything(), *definitions()])
        await tracker.until_rows(links=21, routes=20, runs=11, definitions=1, controls=2)
    log = await records_of(tracker)
    async with (
        open_migrated_database(postgres_url) as url,
        open_tracker(kafka_bootstrap, topic_prefix, url) as rebuilt,
    ):
        pool = await open_pool(rebuilt.settings)
        projection = Projection(pool, load_queries())
        for partition in reversed(log):
            for start in range(0, len(log[partition]), 3):
                batch = batch_of(log[partition], start, start + 3)
                await project({partition: batch}, projection, NoDeadLetters())
        await pool.close()
        ours, theirs = await tracker.rows(), await rebuilt.rows()
        assert len(ours["runs"]) == 11
        for table in ("webhooks", "routes", "runs", "links", "definitions", "controls"):
            assert ours[table] == theirs[table]


async def test_a_batch_that_comes_again_changes_nothing(tracker: Tracker) -> None:
    """Nor does that of a projector which was stalled while another took its partitions over."""
    await tracker.log.write(chain(*story(2)))
    log = await records_of(tracker)
    events, records = max(log.items(), key=lambda item: len(item[1]))
    pool = await open_pool(tracker.settings)
    projection = Projection(pool, load_queries())
    await project({events: batch_of(records, 0, 4)}, projection, NoDeadLetters())
    await project({events: batch_of(records, 4, 6)}, projection, NoDeadLetters())
    before = await tracker.rows()
    for start, end in ((0, 4), (4, 6), (3, 9)):
        with pytest.raises(OffsetsMoved):
            await project({events: batch_of(records, start, end)}, projection, NoDeadLetters())
    assert await tracker.rows() == before
    await pool.close()


async def test_of_two_that_hold_one_batch_at_once_one_stores_it(tracker: Tracker) -> None:
    await tracker.log.write(chain(*story(2)))
    log = await records_of(tracker)
    batches = {partition: batch_of(records, 0, len(records)) for partition, records in log.items() if records}
    pool = await open_pool(tracker.settings)
    projection = Projection(pool, load_queries())
    outcomes = await asyncio.gather(
        *(project(batches, projection, NoDeadLetters()) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "NoneType",
        *["OffsetsMoved"] * 3,
    ]
    assert len((await tracker.rows())["links"]) == 2
    await pool.close()


async def test_partitions_are_taken_once_whoever_had_them_has_nothing_under_way(tracker: Tracker) -> None:
    mine, another = TopicPartition("events", 0), TopicPartition("events", 1)
    pool = await open_pool(tracker.settings)
    projection = Projection(pool, load_queries())
    async with pool, pool.acquire() as before:
        await before.execute("INSERT INTO tracker.offsets VALUES ('events', 0, 3), ('events', 1, 5)")
        async with before.transaction():
            await before.execute("UPDATE tracker.offsets SET next_offset = 7 WHERE partition = 0")
            taking = asyncio.create_task(projection.take_offsets([mine]))
            assert await projection.take_offsets([another]) == {another: 5}
            assert not taking.done()

        assert await taking == {mine: 7}
        assert await projection.take_offsets([TopicPartition("never read", 0)]) == {}


async def test_the_database_may_be_away_and_the_projector_catches_up_by_itself(
    tracker: Tracker, database_url: str
) -> None:
    wire = Wire(database_url)
    await wire.mend()
    async with tracker.told_otherwise(database_url=wire.url).projecting() as projector:
        await tracker.log.write([received("e1", "c1")])
        await tracker.until_rows(webhooks=1)
        await wire.cut()
        await tracker.log.write(chain(*story(2)))
        async with asyncio.timeout(10):
            while (await projector.health.report())["status"] != "degraded":
                await asyncio.sleep(0.05)
        await wire.mend()
        await tracker.until_rows(links=2, webhooks=3)
        async with asyncio.timeout(10):
            while (await projector.health.report())["status"] != "healthy":
                await asyncio.sleep(0.05)
    await wire.cut()


async def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_is_projected(
    tracker: Tracker,
) -> None:
    topic = SAGA_EVENTS.name(tracker.settings.topic_prefix)
    headers = [
        ("ce_id", b"1"),
        ("ce_source", b"/x"),
        ("ce_type", b"unheard.of"),
        ("ce_time", b"2026-01-01T00:00:00Z"),
    ]
    async with tracker.projecting():
        await tracker.log.producer.send_and_wait(topic, key=b"k", value=b"\xff", headers=headers, partition=1)
        await tracker.log.producer.send_and_wait(topic, key=b"k", value=b"{}", partition=1)
        await tracker.log.write(chain(*story(2)))
        await tracker.until_rows(links=2)
    [first, second] = await dead_letters(tracker, f"{topic}.dlq")
    assert (first.key, first.value, first.partition) == (b"k", b"\xff", 1)
    assert first.headers[:4] == tuple(headers)
    told = dict(first.headers[4:])
    assert told["dlqreason"] == b"no contract is known for the type 'unheard.of'"
    assert (told["dlqtopic"], told["dlqpartition"], told["dlqoffset"]) == (topic.encode(), b"1", b"0")
    assert dict(second.headers)["dlqreason"] == b"the header ce_id is missing"


async def test_what_postgresql_cannot_hold_costs_one_record_and_not_the_batch(tracker: Tracker) -> None:
    """A character that text cannot hold is replaced; a number that no column can hold is a dead letter."""
    nul = SagaLog("s-nul").started("e\0", "c\0", note="a\0b").done("reserve").failed_attempt("reserve", "\0!")
    huge = SagaLog("s-huge", run=2**70).started("e-huge", "c-huge")
    good = [SagaLog(f"s-{number}").started(f"e-{number}", "c").completed() for number in range(4)]
    records = [
        *good[0].written,
        *good[1].written,
        *huge.written,
        *good[2].written,
        *good[3].written,
        *nul.written,
    ]
    await tracker.log.write([received("e\0", "c\0"), routed("e\0", "c\0", "s-nul", reason="\0"), *records])
    async with tracker.projecting():
        await tracker.until_rows(runs=5, webhooks=1)
    [dead] = await dead_letters(tracker, f"{SAGA_EVENTS.name(tracker.settings.topic_prefix)}.dlq")
    assert dead.key == b"s-huge"
    assert b"PostgreSQL refused it" in dict(dead.headers)["dlqreason"]
    rows = await tracker.rows()
    assert rows["webhooks"][0]["event_id"] == "e\N{REPLACEMENT CHARACTER}"
    assert all(run["state"] == "COMPLETED" for run in rows["runs"] if run["saga_id"] != "s-nul")


async def test_without_tables_it_says_what_to_run_and_waits(
    kafka_bootstrap: str, topic_prefix: str, empty_database_url: str
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    projector = Projector(tracker_settings(kafka_bootstrap, topic_prefix, empty_database_url))
    stopping = asyncio.Event()
    with structlog.testing.capture_logs() as told:
        running = asyncio.create_task(projector.run(stopping))
        async with asyncio.timeout(20):
            while not any("run `sagahook migrate`" in each.get("error", "") for each in told):
                await asyncio.sleep(0.05)
    assert not projector.health.is_started()
    async with asyncio.timeout(20):
        await migrate(empty_database_url, view_tables([]).schema, view_tables([]).migrations)
        while not await projector.health.is_ready():
            await asyncio.sleep(0.05)
    assert projector.health.is_started()
    stopping.set()
    await running


async def test_projecting_goes_on_where_it_stopped(tracker: Tracker) -> None:
    for number in range(1, 4):
        await tracker.log.write(chain(*story(number)))
        async with tracker.projecting():
            await tracker.until_rows(webhooks=2 * number, links=2 * number)
    assert len((await tracker.rows())["webhooks"]) == 6


async def dead_letters(tracker: Tracker, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=tracker.settings.kafka, auto_offset_reset="earliest")
    async with consumer:
        found = await consumer.getmany(timeout_ms=5_000)
        return [record for records in found.values() for record in records]
