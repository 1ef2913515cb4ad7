"""Pauses on a real broker: what starts meanwhile is held through any crash, and runs once when the pause ends."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from sagahook.runtime.ids import new_event_id
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.definitions import ControlSet
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_DEFINITIONS, SAGA_STATE
from tests.oracle import Logged, check_log
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness


async def say(runners: RunnerHarness, kind: Any, name: str, *, paused: bool) -> None:
    """As the tracker writes it."""
    now = datetime.now(UTC)
    control = ControlSet(kind=kind, name=name, paused=paused, actor="ada", reason="the bank is away", at=now)
    envelope = Envelope(
        id=new_event_id(), source="/test", type=control.ce_type, time=now, subject=control.key
    )
    async with AIOKafkaProducer(bootstrap_servers=runners.bootstrap) as producer:
        await producer.send_and_wait(
            SAGA_DEFINITIONS.name(runners.prefix),
            key=control.key.encode(),
            value=control.to_json(),
            headers=envelope.to_headers(),
            partition=partition_of(control.key, PARTITIONS),
        )


async def until_heard(runners: RunnerHarness, times: int = 1) -> None:
    """Until the runners' logs tell so often that a control was set."""
    async with asyncio.timeout(30):
        while runners.logs().count("control.set") < times:
            await asyncio.sleep(0.05)


def of(events: list[LogEvent], kind: str) -> list[LogEvent]:
    return [event for event in events if event.kind == kind]


def violations(events: list[LogEvent]) -> list[str]:
    return check_log(
        [
            Logged(
                event.envelope.saga_id,
                event.envelope.run,
                event.envelope.sequence,
                event.kind,
                event.data,
                partition=event.partition,
                epoch=event.envelope.epoch,
            )
            for event in events
            if event.envelope.saga_id
        ]
    )


def done(runners: RunnerHarness) -> Counter[str]:
    """How often each effect was applied."""
    return Counter(line.split(" ")[0] for line in runners.effects() if line.endswith(" done"))


@pytest.mark.parametrize("kind", ["definition", "source"])
async def test_what_starts_while_it_is_paused_runs_once_after_the_resume_though_its_runner_was_killed(
    runners: RunnerHarness, kind: str
) -> None:
    first = await runners.start_runner()
    await runners.wait_for_log("owner.acquired", PARTITIONS)
    await say(runners, kind, "effects", paused=True)
    await until_heard(runners)
    await runners.publish({"id": number} for number in range(30))
    started = of(await runners.wait_for_log("saga.started", 30), "saga.started")
    assert all(event.data["held"] for event in started)

    first.kill()
    await first.wait()
    await runners.start_runner()
    await runners.wait_for_log("owner.acquired", 2 * PARTITIONS)
    await runners.start_runner()
    await runners.wait_for_log("owner.acquired", 2 * PARTITIONS + 1)
    assert runners.effects() == []

    await say(runners, kind, "effects", paused=False)
    events = await runners.read_until_final(30)

    assert len(of(events, "saga.let_go")) == len(of(events, "saga.completed")) == 30
    assert {event.data["actor"] for event in of(events, "saga.let_go")} == {"ada"}
    assert set(done(runners).values()) == {1}
    assert len(done(runners)) == 3 * 30
    assert violations(events) == []
    for partition in range(PARTITIONS):
        here = [event for event in events if event.partition == partition]
        order = [event.envelope.saga_id for event in of(here, "saga.started")]
        assert [event.envelope.saga_id for event in of(here, "saga.let_go")] == order


async def test_a_pause_that_ended_while_no_runner_was_there_holds_nothing_for_ever(
    runners: RunnerHarness,
) -> None:
    first = await runners.start_runner()
    await runners.wait_for_log("owner.acquired", PARTITIONS)
    await say(runners, "definition", "effects", paused=True)
    await until_heard(runners)
    await runners.publish({"id": number} for number in range(5))
    await runners.wait_for_log("saga.started", 5)
    first.kill()
    await first.wait()
    await say(runners, "definition", "effects", paused=False)
    admin = AIOKafkaAdminClient(bootstrap_servers=runners.bootstrap)
    await admin.start()
    await admin.delete_topics([SAGA_STATE.name(runners.prefix)])
    await admin.close()
    await asyncio.sleep(1)
    await ensure_topics(runners.bootstrap, runners.prefix, PARTITIONS)

    await runners.start_runner()
    events = await runners.read_until_final(5)

    assert len(of(events, "saga.completed")) == 5
    assert violations(events) == []


async def test_what_runs_already_goes_on_and_other_sources_are_not_held(runners: RunnerHarness) -> None:
    runners.settings["STEP_SECONDS"] = "1"
    await runners.start_runner()
    await runners.publish([{"id": 1}])
    await runners.wait_for_effects(1)
    await say(runners, "source", "elsewhere", paused=True)
    await say(runners, "definition", "effects", paused=True)
    await until_heard(runners, 2)
    events = await runners.read_until_final(1)
    assert len(of(events, "saga.completed")) == 1

    await say(runners, "definition", "effects", paused=False)
    await until_heard(runners, 3)
    await runners.publish([{"id": 2}])
    events = await runners.read_until_final(2)
    assert len(of(events, "saga.completed")) == 2
    assert of(events, "saga.let_go") == []
