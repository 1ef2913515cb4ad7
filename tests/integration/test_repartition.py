"""A deployment moves to topics with more partitions: everybody goes on where they were, and nothing is done twice."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from sagahook.cli.doctor_kafka import check_kafka
from sagahook.cli.repartitioning.generation import Refused
from sagahook.cli.repartitioning.moving import Move, repartition
from sagahook.cli.repartitioning.notifier import offsets_of
from sagahook.cli.repartitioning.taken import take
from sagahook.runtime.topics import TopicsMismatch, ensure_topics, look_at_topics, open_admin, partition_count
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_schemas.identity import child_id, partition_of
from sagahook_schemas.sagas import AttemptInFlight, OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import ALL_TOPICS, SAGA_EVENTS, SAGA_STATE, WEBHOOKS_RECEIVED, steps_topic
from sagahook_tracker.adapters.schema import view_tables
from tests.moved_world import (
    BEGUN,
    SERVICES,
    Deployment,
    begin,
    deployed,
    moved_runners,
    put_answer,
    put_owner,
    sagahook,
)
from tests.preforked import start_service
from tests.runner_harness import RunnerHarness
from tests.runner_log import assert_fold_is_snapshots, broken_runs, following, whole_topic
from tests.tracker_harness import tracker_settings


@pytest.mark.long
async def test_everything_goes_on_in_topics_with_more_partitions(
    kafka_bootstrap: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    async with deployed(kafka_bootstrap, topic_prefix, database_url, tmp_path) as deployment:
        async with deployment.running(), following(deployment.log) as log:
            accepted = await begin(deployment, log)
            await deployment.stop("notifier")
            await deployment.answer(log.started("id", "late"))
            before = {id: await deployment.status(accepted[id]["correlation_id"]) for id in ("done", "late")}
            await deployment.status(accepted["plain"]["correlation_id"])
            refused = await sagahook("topics", "repartition", "--partitions", "5", **deployment.environment)
            assert refused.exit_code == 1
            assert f"{topic_prefix}-runner (1)" in refused.stderr
            await deployment.stop("ingest", "runner")
            # Nobody takes these any more.
            await deployment.ask_to_reprocess(accepted["plain"]["event_id"])
            await deployment.answer(log.started("id", "asked"))
            await deployment.log.publish([{"kind": "plain", "id": "unrouted"}], source="moved")
            await deployment.stop("projector", "api")
            saga_ids = {id: log.started("id", id) for id in accepted}
        await move(deployment)
        async with deployment.running(), following(deployment.log) as log:
            again = await deployment.post("plain", "plain", **{"Idempotency-Key": "plain"})
            assert again["event_id"] == accepted["plain"]["event_id"]
            joined = await deployment.post("ask", "done")
            deployment.refuse.unlink()
            await deployment.answer(saga_ids["first"])
            await deployment.answer(child_id(saga_ids["whole"], 1, "part"))
            await log.until(lambda: "step.awaiting answer" in log.story(saga_ids["second"]))
            await deployment.answer(saga_ids["second"])
            await log.until_count("saga.completed", 3 + 9)
            await log.until_count("saga.joined")
            told = await deployment.status(joined["correlation_id"])
            assert told["saga_ids"] == before["done"]["saga_ids"]
            for id, status in before.items():
                assert await deployment.status(accepted[id]["correlation_id"]) == status
            await deployment.receiver.wait_for(3 + 9)
            await deployment.stop(*SERVICES)
        times = Counter(each.delivery_id for each in deployment.receiver.arrivals)
        assert (len(times), set(times.values())) == (3 + 9, {1})
        ended = Counter(e.envelope.saga_id for e in log.events if e.kind == "saga.completed")
        assert ended.pop(saga_ids["plain"]) == 2  # once more, as an operator asked
        assert set(ended.values()) == {1}
        for run in (1, 2):
            assert broken_runs([event for event in log.events if event.envelope.run == run]) == {}
        effects = Counter(line.split()[0] for line in deployment.log.effects())
        assert (len(effects), set(effects.values())) == (3 + 9, {1})
        verified = await sagahook("tracker", "verify", **deployment.environment)
        assert "0 differences in" in verified.stdout, verified.output


async def move(deployment: Deployment) -> None:
    """Told first, and then done; services use the new topics alone."""
    old = deployment.log
    told = await sagahook("topics", "repartition", "--partitions", "5", "--dry-run", **deployment.environment)
    assert told.exit_code == 0, told.output
    assert f"{old.prefix}-reprocess: up to 1 records are not taken" in told.stdout
    assert await partition_count(old.bootstrap, old.prefix) == 2
    done = await sagahook("topics", "repartition", "--partitions", "5", **deployment.environment)
    assert done.exit_code == 0, done.output
    new = f"{old.prefix}.g2"
    assert f"SAGAHOOK_TOPIC_PREFIX={new}" in done.stdout
    with pytest.raises(TopicsMismatch, match=f"has moved to those of {new}"):
        await partition_count(old.bootstrap, old.prefix)
    again = await sagahook("topics", "repartition", "--partitions", "5", **deployment.environment)
    assert (again.exit_code, "has moved to those of" in again.stderr) == (1, True)
    deployment.log = RunnerHarness(old.bootstrap, new, old.folder, partitions=5)
    assert await assert_fold_is_snapshots(deployment.log) > 0
    plan = await look_at_topics(old.bootstrap, new)
    assert (plan.partitions, plan.steps) == (5, ())
    settings = tracker_settings(old.bootstrap, new, deployment.database_url)
    async with asyncpg.create_pool(deployment.database_url, min_size=0) as pool:
        assert "run `sagahook tracker rebuild`" in await view_tables(settings.topics).lacking(pool)
        rebuilt = await sagahook("tracker", "rebuild", "--jobs", "1", **deployment.environment)
        assert rebuilt.exit_code == 0, rebuilt.output
        assert await view_tables(settings.topics).lacking(pool) == ""


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    async with moved_runners(kafka_bootstrap, topic_prefix, tmp_path, nap="0.5") as opened:
        yield opened


async def test_sagas_that_wait_go_on_in_topics_with_more_partitions(
    runners: RunnerHarness, database_url: str
) -> None:
    runner = await runners.start_runner()
    async with following(runners) as log:
        bodies = [{"kind": kind, "id": id} for kind, id in (*BEGUN, ("limited", "first"))]
        await runners.publish(bodies, source="moved")
        await log.until_count("step.awaiting", 3 + 1 + 1)
        await runners.publish([{"kind": "limited", "id": "second"}], source="moved")
        await log.until_count("saga.started", 9 + 1)
        await log.until_count("step.retry_scheduled")
        saga_ids = {id: log.started("id", id) for id in (*(body["id"] for body in bodies), "second")}
        await put_answer(runners, saga_ids["done"])
        await log.until_count("saga.completed", 2)
    new = f"{runners.prefix}.g2"
    move = Move(runners.bootstrap, runners.prefix, new, 2, database=database_url)
    with pytest.raises(Refused, match=rf"{runners.prefix}-runner \(1\)"):
        await repartition(move, print)
    runner.terminate()
    assert await runner.wait() == 0
    # Nobody takes these any more.
    await put_answer(runners, saga_ids["asked"])
    await runners.publish(
        [{"kind": "plain", "id": "unrouted"}, {"kind": "ask", "id": "done"}], source="moved"
    )

    told = next(e for e in log.events if e.kind == "saga.completed").offset
    await tell_notifier(database_url, SAGA_EVENTS.name(runners.prefix), told)
    events = TopicPartition(SAGA_EVENTS.name(runners.prefix), 0)
    await take(runners.bootstrap, f"{runners.prefix}-downstream", {events: told})

    said: list[str] = []
    await repartition(move, said.append)

    assert said[-1] == f"everything in the topics of {runners.prefix} is in those of {new} now"
    (runners.folder / "refuse").unlink()
    moved = replace(runners, prefix=new, partitions=2, processes=[])
    assert await assert_fold_is_snapshots(moved) > 0
    await assert_readers_go_on(
        moved, database_url, {e.envelope.id for e in log.events if e.offset < told and e.envelope.saga_id}
    )
    try:
        runner = await moved.start_runner()
        async with following(moved) as log:
            for id in ("late", "first"):
                await put_answer(moved, saga_ids[id])
            await put_answer(moved, child_id(saga_ids["whole"], 1, "part"))
            await log.until(lambda: "step.awaiting answer" in log.story(saga_ids["second"]))
            await put_answer(moved, saga_ids["second"])
            await log.until_count("saga.completed", 9 + 1 + 1)
            await log.until_count("saga.joined")
        runner.terminate()
        assert await runner.wait() == 0
    finally:
        await moved.stop()
    assert broken_runs(log.events) == {}
    assert {e.partition for e in log.events if e.envelope.saga_id} == {0, 1}
    effects = Counter(line.split()[0] for line in moved.effects())
    assert (len(effects), set(effects.values())) == (9 + 1 + 1, {1})


async def tell_notifier(database_url: str, topic: str, offset: int) -> None:
    """It has read the only partition up to there."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO notifier.offsets VALUES ($1, 0, $2, now())", topic, offset)
    await connection.close()


async def assert_readers_go_on(moved: RunnerHarness, database_url: str, told: set[str]) -> None:
    """In each partition at the first event that it has not read, so that it misses none. told: ids of the others."""
    offsets = await offsets_of(database_url, SAGA_EVENTS.name(moved.prefix))
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT topic, read_until IS NULL AS unknown FROM notifier.offsets")
    await connection.close()
    assert {(row["topic"], row["unknown"]) for row in rows} == {(SAGA_EVENTS.name(moved.prefix), False)}
    async with open_admin(moved.bootstrap) as admin:
        group = await admin.list_consumer_group_offsets(f"{moved.prefix}-downstream")
    assert {place: at.offset for place, at in group.items()} == offsets
    assert {place.partition for place in offsets} == {0, 1}
    async with whole_topic(moved, SAGA_EVENTS.name(moved.prefix)) as records:
        for place, offset in offsets.items():
            ids = {
                record.offset: dict(record.headers)["ce_id"].decode()
                for record in records
                if TopicPartition(record.topic, record.partition) == place
                and "ce_sagaid" in dict(record.headers)
            }
            assert told.issuperset(id for at, id in ids.items() if at < offset)
            assert ids.get(offset) not in told


async def test_what_was_killed_is_not_used_by_anybody_and_is_begun_anew(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    participants = (steps_topic("billing"), steps_topic("billing").dead_letters)
    await ensure_topics(kafka_bootstrap, topic_prefix, 1, topics=(*ALL_TOPICS, *participants))
    old = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, partitions=1)
    sent = await old.publish([{"number": number} for number in range(20)])
    words = (kafka_bootstrap, topic_prefix, "2", "webhooks.received: 20 records copied")
    killed = await start_service("tests.killed_move", *words, env=os.environ, log=tmp_path / "killed.log")
    assert await killed.wait() == -signal.SIGKILL
    new = RunnerHarness(kafka_bootstrap, f"{topic_prefix}.g2", tmp_path, partitions=2)
    with pytest.raises(TopicsMismatch, match="are being filled from those of"):
        await partition_count(kafka_bootstrap, new.prefix)
    assert await partition_count(kafka_bootstrap, topic_prefix) == 1  # there is still the way back
    options = ("--kafka", kafka_bootstrap, "--prefix", topic_prefix)
    kept = await sagahook("topics", "retire", *options, "--yes")
    assert (kept.exit_code, "nothing was deleted" in kept.stderr) == (1, True)
    doctors = await check_kafka(kafka_bootstrap, new.prefix, writes=False)
    assert "are not to be used" in next(each.says for each in doctors.lines if each.verdict == "fail")
    acquired = OwnerAcquired(partition=0, epoch=7, instance="runner-0")
    saga_id = "6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e001"
    running = AttemptInFlight(saga_id=saga_id, run=1, step="one", phase="action", attempt=2)
    released = OwnerReleased(partition=0, epoch=7, in_flight=(running,))
    await put_owner(old, acquired)
    refused = await sagahook("topics", "repartition", *options, "--partitions", "2", "--without-notifier")
    assert (refused.exit_code, "did not let go of it in order" in refused.stderr) == (1, True)
    await put_owner(old, released)

    done = await sagahook("topics", "repartition", *options, "--partitions", "2", "--without-notifier")

    assert done.exit_code == 0, done.output
    assert await partition_count(kafka_bootstrap, new.prefix) == 2
    async with whole_topic(new, WEBHOOKS_RECEIVED.name(new.prefix)) as records:
        assert sorted(record.key.decode() for record in records) == sorted(sent)
    async with whole_topic(new, SAGA_STATE.name(new.prefix)) as records:
        owners = {record.partition: OwnerRecord.from_record(record) for record in records}
    assert {(each.epoch, each.released, each.first_run) for each in owners.values()} == {(8, True, 5)}
    homes = {number: {each.saga_id for each in owner.in_flight} for number, owner in owners.items()}
    assert homes == {0: set(), 1: set()} | {partition_of(saga_id, 2): {saga_id}}
    async with open_admin(kafka_bootstrap) as admin:
        assert steps_topic("billing").name(new.prefix) in await admin.list_topics()
    retired = await sagahook("topics", "retire", *options, "--yes")
    assert retired.exit_code == 0, retired.output
    listed = await sagahook("topics", "list", *options)
    assert listed.stdout.count(" missing ") == len(ALL_TOPICS)
    with pytest.raises(TopicsMismatch, match="has moved to those of"):
        await partition_count(kafka_bootstrap, topic_prefix)
