"""What a runner's sagas survive: a crowd of the same webhooks, an action that kills its process, an undoing.

`SAGAHOOK_TEST_SCALE`: multiplies how many sagas there are; 5 makes 500 keys, and 1,000 sagas beside the deadly one.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import RetrySaga
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import following, put_command, shuffled

SCALE = float(os.environ.get("SAGAHOOK_TEST_SCALE", "1"))


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    harness = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.poison")
    yield harness
    await harness.stop()


@asynccontextmanager
async def supervised(runners: RunnerHarness) -> AsyncIterator[list[int]]:
    """A runner that is started again each time it dies; the exit codes so far."""
    codes: list[int] = []

    async def supervise() -> None:
        while True:
            runner = await runners.start_runner()
            codes.append(await runner.wait())

    supervising = asyncio.create_task(supervise())
    try:
        yield codes
    finally:
        supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervising


async def test_of_webhooks_with_the_same_key_one_starts_the_saga_and_each_other_joins_it(
    runners: RunnerHarness,
) -> None:
    keys = int(100 * SCALE)
    await runners.start_runner()
    await runners.start_runner()
    bodies = shuffled([{"id": number} for number in range(keys) for _ in range(5)], seed=4)
    event_ids = await runners.publish(bodies, source="poison")
    async with following(runners) as log:
        await log.until_count("saga.joined", 4 * keys)
        await log.until_count("saga.completed", keys)
    asked = [e for e in log.events if e.kind in ("saga.started", "saga.joined")]
    assert Counter(e.data["event_id"] for e in asked) == Counter(event_ids)
    ended = {e.envelope.saga_id for e in log.events if e.kind == "saga.completed"}
    correlations = {e.data["correlation_id"]: e.envelope.saga_id for e in asked}
    assert len(correlations) == 5 * keys
    assert set(correlations.values()) == ended
    assert log.kinds()["saga.started"] == len(ended) == keys
    done = Counter(line.split(" ")[0] for line in runners.effects() if line.endswith("done"))
    assert len(done) == 3 * keys
    assert set(done.values()) == {1}
    log.assert_sound()


@pytest.mark.long
async def test_an_action_that_kills_its_process_suspends_its_own_saga_and_no_other(
    runners: RunnerHarness,
) -> None:
    others = int(200 * SCALE)
    runners.settings["STEP_SECONDS"] = "0.05"
    async with supervised(runners) as codes, following(runners) as log:
        await log.until_count("owner.acquired", PARTITIONS)
        bodies = [{"id": number} for number in range(others)]
        await runners.publish(
            [*bodies[: others // 2], {"id": "poison", "kills": True}, *bodies], source="poison"
        )
        await log.until_count("saga.suspended", seconds=120)
        await log.until_count("saga.completed", others, seconds=120)
        assert codes == [9, 9, 9]
    poison = log.started("kills", True)
    assert [e.envelope.saga_id for e in log.events if e.kind == "saga.suspended"] == [poison]
    assert log.story(poison)[-1] == "saga.suspended"
    assert log.of(poison)[-1].data["cause"] == "losses"
    assert log.story(poison).count("step.attempt_lost two") == 3
    log.assert_sound()


async def test_a_retry_after_everything_was_undone_applies_its_effects_again(runners: RunnerHarness) -> None:
    refuse = runners.folder / "refuse"
    refuse.touch()
    await runners.start_runner(REFUSE=str(refuse))
    async with following(runners) as log:
        await runners.publish([{"id": 1}], source="poison")
        await log.until_count("saga.rolled_back")
        saga = log.events[-1].envelope.saga_id
        refuse.unlink()
        await put_command(runners, saga, RetrySaga(actor="ann", reason="the shop is open again"))
        await log.until_count("saga.completed")
    again = next(e for e in log.of(saga, run=2) if e.kind == "saga.started")
    assert (again.data["actor"], again.data["reason"]) == ("ann", "the shop is open again")
    assert log.story(saga, run=2) == [
        "saga.started",
        *(
            f"{what} {step}"
            for step in ("one", "two", "three")
            for what in ("step.scheduled", "step.completed")
        ),
        "saga.completed",
    ]
    done = [line.split(" ")[0] for line in runners.effects() if line.endswith("done")]
    assert done == [f"{saga}/1/one/action", f"{saga}/1/two/action"] + [
        f"{saga}/2/{step}/action" for step in ("one", "two", "three")
    ]
    assert f"{saga}/1/one/compensation 1 undid {saga}/1/one/action" in runners.effects()
    log.assert_sound()
