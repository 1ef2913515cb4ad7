"""saga-runner on a real broker: what a crash, a stall and a rebalance leave in the saga log."""

import asyncio
import signal
from collections import Counter

import pytest

from sagahook.runtime.topics import ensure_topics
from tests.processes import halt
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness


def saga_events(events: list[LogEvent]) -> list[LogEvent]:
    return [event for event in events if event.envelope.saga_id]


def kinds(events: list[LogEvent]) -> Counter[str]:
    return Counter(event.kind for event in events)


def assert_each_run_is_contiguous(events: list[LogEvent]) -> None:
    runs: dict[tuple[str, int], list[int]] = {}
    for event in saga_events(events):
        runs.setdefault((event.envelope.saga_id, event.envelope.run), []).append(event.envelope.sequence)
    for run, sequences in runs.items():
        assert sequences == list(range(1, len(sequences) + 1)), run


def assert_epochs_never_decrease(events: list[LogEvent]) -> None:
    for partition in range(PARTITIONS):
        epochs = [event.envelope.epoch for event in events if event.partition == partition]
        assert epochs == sorted(epochs)


async def test_a_webhook_runs_its_saga_step_by_step_and_a_duplicate_joins_it(runners: RunnerHarness) -> None:
    await runners.start_runner()
    await runners.publish([{"id": 1}])
    await runners.read_until_final(1)
    await runners.publish([{"id": 1}])
    events = await runners.wait_for_log("saga.joined")
    assert [event.kind for event in saga_events(events)] == [
        "saga.started",
        *["step.scheduled", "step.completed"] * 3,
        "saga.completed",
        "saga.joined",
    ]
    assert saga_events(events)[-1].data["state"] == "COMPLETED"
    assert_each_run_is_contiguous(events)


async def test_a_refused_last_step_undoes_what_was_done(runners: RunnerHarness) -> None:
    await runners.start_runner()
    await runners.publish([{"id": 1, "fail": True}])
    events = saga_events(await runners.read_until_final(1))
    assert [event.kind for event in events][-4:] == [
        "saga.compensating",
        "step.scheduled",
        "step.completed",
        "saga.rolled_back",
    ]
    assert events[-1].data["error"] == "PermanentError: told to fail"
    saga = events[0].envelope.saga_id
    assert f"{saga}/1/one/compensation 1 undid {saga}/1/one/action" in runners.effects()


async def test_sagas_end_after_their_runner_was_killed_in_the_middle(runners: RunnerHarness) -> None:
    runners.settings["STEP_SECONDS"] = "0.3"
    first = await runners.start_runner()
    await runners.publish({"id": number} for number in range(40))
    await runners.wait_for_effects(10)
    first.kill()
    await runners.start_runner()
    events = await runners.read_until_final(40)
    counted = kinds(events)
    assert counted["saga.completed"] == 40
    assert counted["step.attempt_lost"] > 0
    assert {e.data["reason"] for e in events if e.kind == "step.attempt_lost"} <= {"crash", "never_begun"}
    assert_each_run_is_contiguous(events)
    assert_epochs_never_decrease(events)


async def test_a_runner_that_stalls_past_its_session_writes_nothing_when_it_wakes(
    runners: RunnerHarness,
) -> None:
    runners.settings["STEP_SECONDS"] = "0.5"
    stalled = await runners.start_runner()
    await runners.publish({"id": number} for number in range(20))
    await runners.wait_for_effects(5)
    halt(stalled.pid)
    await runners.start_runner()
    await runners.wait_for_log("owner.acquired", 2 * PARTITIONS)
    stalled.send_signal(signal.SIGCONT)
    events = await runners.read_until_final(20)
    # Both take part again once the stalled one has rejoined; what counts is that no epoch comes back.
    assert kinds(events)["saga.completed"] == 20
    assert_epochs_never_decrease(events)
    assert_each_run_is_contiguous(events)


async def test_a_replica_that_joins_and_leaves_repeats_no_attempt_that_was_running(
    runners: RunnerHarness,
) -> None:
    runners.settings["STEP_SECONDS"] = "0.8"
    await runners.start_runner()
    await runners.publish({"id": number} for number in range(60))
    await runners.wait_for_effects(20)
    second = await runners.start_runner()
    await runners.wait_for_log("owner.acquired", PARTITIONS + 1)
    await asyncio.sleep(0.5)
    second.send_signal(signal.SIGTERM)
    assert await second.wait() == 0, runners.logs()[-2000:]
    events = await runners.read_until_final(60)
    assert kinds(events)["saga.completed"] == 60
    # One that was committed when its process stopped, and did not begin, is the next owner's.
    assert {e.data["reason"] for e in events if e.kind == "step.attempt_lost"} <= {"never_begun"}
    began = Counter(line.rsplit(" ", 2)[0] for line in runners.effects() if line.endswith("began"))
    assert set(began.values()) == {1}
    assert_each_run_is_contiguous(events)


async def test_deleting_the_snapshots_costs_only_time(runners: RunnerHarness, kafka_bootstrap: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    from sagahook_schemas.topics import SAGA_STATE

    runners.settings["STEP_SECONDS"] = "0.2"
    first = await runners.start_runner()
    await runners.publish({"id": number} for number in range(10))
    await runners.wait_for_effects(6)
    first.kill()
    await first.wait()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.delete_topics([SAGA_STATE.name(runners.prefix)])
    await admin.close()
    await asyncio.sleep(1)
    await ensure_topics(kafka_bootstrap, runners.prefix, PARTITIONS)
    second = await runners.start_runner()
    events = await runners.read_until_final(10)
    second.kill()
    await second.wait()
    # The next owner reads snapshots again: they must hold every saga, also those that nothing touched since.
    await runners.start_runner()
    await runners.publish({"id": number} for number in range(10))
    events = await runners.wait_for_log("saga.joined", 10)
    assert kinds(events)["saga.completed"] == 10
    assert kinds(events)["saga.started"] == 10
    assert_each_run_is_contiguous(events)
    assert_epochs_never_decrease(events)


@pytest.mark.parametrize("headers", [[], [("ce_type", b"sagahook.unheard.of.v1"), ("ce_sagaid", b"x")]])
async def test_a_command_that_cannot_be_read_becomes_a_dead_letter_and_the_next_one_is_obeyed(
    runners: RunnerHarness, headers: list[tuple[str, bytes]]
) -> None:
    from aiokafka import AIOKafkaProducer

    from sagahook_schemas.topics import SAGA_COMMANDS

    await runners.start_runner()
    producer = AIOKafkaProducer(bootstrap_servers=runners.bootstrap)
    await producer.start()
    topic = SAGA_COMMANDS.name(runners.prefix)
    await producer.send_and_wait(topic, key=b"x", value=b"{}", headers=headers, partition=0)
    await producer.stop()
    async with runners.reader(SAGA_COMMANDS.dead_letters) as consumer, asyncio.timeout(30):
        letter = await consumer.getone()
    assert dict(letter.headers)["dlqtopic"] == topic.encode()
    assert dict(letter.headers)["dlqreason"]
    await runners.publish([{"id": 1}])
    assert kinds(await runners.read_until_final(1))["saga.completed"] == 1


async def test_a_runner_that_is_stopped_says_so_of_the_attempts_it_cancels(runners: RunnerHarness) -> None:
    runners.settings["STEP_SECONDS"] = "18"
    first = await runners.start_runner()
    await runners.publish([{"id": 1}])
    await runners.wait_for_effects(1)
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 0, runners.logs()[-2000:]
    await runners.start_runner(STEP_SECONDS="0")
    events = await runners.read_until_final(1)
    lost = [event.data["reason"] for event in events if event.kind == "step.attempt_lost"]
    assert lost == ["stopped"]
    assert kinds(events)["saga.completed"] == 1
