"""The views are the log's whatever happens to those who make them: a short form of `bench.kills`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.projector_kills import SESSION_SECONDS, differences, projectors
from tests.tracker_harness import Tracker, open_tracker

KILLS = 4


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


@pytest.mark.long
async def test_a_projector_that_is_killed_at_random_loses_and_repeats_nothing(
    tracker: Tracker, tmp_path: Path
) -> None:
    async with projectors(tracker, tmp_path, how_many=1, seed=1) as running:
        for _ in range(KILLS):
            await running.kill_one()
    report = await differences(tracker)
    assert (report.count, report.differences) == (0, [])
    assert report.compared["runs"] > 0


@pytest.mark.long
async def test_of_two_projectors_one_that_was_stalled_past_its_session_changes_nothing(
    tracker: Tracker, tmp_path: Path
) -> None:
    async with projectors(tracker, tmp_path, how_many=2, seed=2) as running:
        await running.stall_one(2.5 * SESSION_SECONDS)
        await asyncio.sleep(SESSION_SECONDS)
    report = await differences(tracker)
    assert (report.count, report.differences) == (0, [])
