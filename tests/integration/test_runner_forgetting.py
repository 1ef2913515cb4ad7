"""A finished saga is forgotten when its window ends, and what was forgotten is never taken for new."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import following


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    settings = {"SAGAHOOK_DEDUPLICATION_WINDOW": "1"}
    harness = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, settings=settings)
    yield harness
    await harness.stop()


async def test_a_saga_that_was_forgotten_before_a_crash_begins_with_a_run_of_its_own_after_it(
    runners: RunnerHarness,
) -> None:
    runner = await runners.start_runner()
    await runners.publish([{"id": 1}])
    async with following(runners) as log:
        await log.until_count("saga.completed", 1)
        await asyncio.sleep(7)  # its window, and the time between two looks for what is to be forgotten
        runner.kill()
        await runner.wait()
        await runners.start_runner()
        await runners.publish([{"id": 1}])
        await log.until_count("saga.completed", 2)

    runs = [event.envelope.run for event in log.events if event.kind == "saga.started"]
    assert runs == [1, 2]
    scheduled = [event for event in log.events if event.kind == "step.scheduled"]
    assert len({event.data["idempotency_key"] for event in scheduled}) == len(scheduled)
