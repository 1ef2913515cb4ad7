"""Deploys while sagas are under way: what no longer fits is parked where everybody sees it, and nothing is guessed."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import MigrateSaga, SignalSaga
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import Follower, following, put_command

SAGAS = 8


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    harness = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.versions")
    yield harness
    await harness.stop()


async def deploy(runners: RunnerHarness, log: Follower, deployed: str) -> None:
    """Stop the runner that there is, in order, and start one with another module."""
    for runner in runners.processes[-1:]:
        runner.send_signal(signal.SIGTERM)
        assert await runner.wait() == 0, runners.logs()[-2000:]
    before = log.kinds()["owner.acquired"]
    await runners.start_runner(DEPLOYED=deployed)
    await log.until_count("owner.acquired", before + PARTITIONS)


async def begin(runners: RunnerHarness, log: Follower) -> list[str]:
    """Sagas under the first version, each waiting for its signal; their ids."""
    await deploy(runners, log, "first")
    await runners.publish([{"id": number} for number in range(SAGAS)], source="versions")
    await log.until_count("step.awaiting", SAGAS)
    return sorted({event.envelope.saga_id for event in log.events if event.kind == "saga.started"})


async def say_go(runners: RunnerHarness, sagas: list[str]) -> None:
    for saga in sagas:
        await put_command(runners, saga, SignalSaga(actor="ann", signal="go", signal_id="go-1"))


async def test_what_does_not_replay_is_parked_and_goes_on_by_itself_when_its_version_is_back(
    runners: RunnerHarness,
) -> None:
    async with following(runners) as log:
        sagas = await begin(runners, log)
        await deploy(runners, log, "renamed")
        await log.until_count("saga.suspended", SAGAS)
        for saga in sagas:
            parked = log.of(saga)[-1]
            assert parked.data["cause"] == "definition"
            assert (
                "the history of this run does not fit the deployed definition of plan version 1"
                in parked.data["reason"]
            )
        # What the parked ones are told is not lost, nor does it set them going.
        await say_go(runners, sagas)
        await log.until_count("saga.signalled", SAGAS)
        assert log.kinds()["saga.resumed"] == 0
        await deploy(runners, log, "first")
        await log.until_count("saga.completed", SAGAS)
    for saga in sagas:
        assert log.story(saga) == [
            "saga.started",
            "step.scheduled draw",
            "step.completed draw",
            "step.awaiting go",
            "saga.suspended",
            "saga.signalled",
            "saga.resumed",
            "step.completed go",
            "saga.completed",
        ]
        assert next(e for e in log.of(saga) if e.kind == "saga.resumed").data["actor"] == "sagahook"
    assert sorted(runners.effects()) == [f"{saga}/1/draw/action 1 done" for saga in sagas]
    log.assert_sound()


async def test_a_migrated_saga_goes_on_under_the_newer_version(runners: RunnerHarness) -> None:
    async with following(runners) as log:
        sagas = await begin(runners, log)
        await deploy(runners, log, "second")
        await log.until_count("saga.suspended", SAGAS)
        assert {e.data["reason"] for e in log.events if e.kind == "saga.suspended"} == {
            "version 1 of plan is not deployed: deploy it"
        }
        for saga in sagas[1:]:
            await put_command(runners, saga, MigrateSaga(actor="ann", reason="the new plan", version=2))
        await put_command(runners, sagas[0], MigrateSaga(actor="ann", version=3))
        await log.until_count("saga.migrated", SAGAS - 1)
        await log.until_count("saga.command_refused")
        await say_go(runners, sagas[1:])
        await log.until_count("saga.completed", SAGAS - 1)
    refused = log.of(sagas[0])[-1]
    assert (refused.kind, refused.data["command"]) == ("saga.command_refused", MigrateSaga.ce_type)
    for saga in sagas[1:]:
        assert log.story(saga)[4:] == [
            "saga.suspended",
            "saga.migrated",
            "saga.resumed",
            "saga.signalled",
            "step.completed go",
            "step.scheduled archive",
            "step.completed archive",
            "saga.completed",
        ]
    done = sorted(
        [f"{saga}/1/draw/action 1 done" for saga in sagas]
        + [f"{s}/1/archive/action 1 done" for s in sagas[1:]]
    )
    assert sorted(runners.effects()) == done
    log.assert_sound()
