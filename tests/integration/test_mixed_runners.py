"""Runners of two versions follow each other in one partition, in order and by a kill (docs/operating/upgrades.md)."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sagahook_schemas.identity import child_id
from tests.earlier import unpacked
from tests.moved_world import BEGUN, moved_runners, put_answer
from tests.runner_harness import RunnerHarness
from tests.runner_log import broken_runs, following


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    async with moved_runners(kafka_bootstrap, topic_prefix, tmp_path, nap="3") as opened:
        yield opened


@pytest.mark.long
async def test_sagas_that_wait_go_on_under_either_version_whichever_ends_or_is_killed(
    runners: RunnerHarness, tmp_path: Path
) -> None:
    earlier = unpacked(tmp_path)
    first = await runners.start_version(earlier)
    async with following(runners) as log:
        await runners.publish([{"kind": kind, "id": id} for kind, id in BEGUN], source="moved")
        await runners.publish([{"kind": "limited", "id": "first"}], source="moved")
        await log.until_count("step.awaiting", 3 + 1 + 1)

        second = await runners.start_runner()
        first.terminate()
        assert await first.wait() == 0
        await runners.publish([{"kind": "limited", "id": "second"}], source="moved")
        await log.until_count("saga.started", 9 + 1)
        await put_answer(runners, log.started("id", "done"))
        await log.until_count("saga.completed", 2)

        # It knows neither how far the log says that its predecessor was, nor which snapshots are behind.
        third = await runners.start_version(earlier)
        second.kill()
        await put_answer(runners, log.started("id", "first"))
        await put_answer(runners, child_id(log.started("id", "whole"), 1, "part"))
        await log.until(lambda: "step.awaiting answer" in log.story(log.started("id", "second")))

        fourth = await runners.start_runner()
        third.terminate()
        assert await third.wait() == 0
        (runners.folder / "refuse").unlink()
        await runners.publish([{"kind": "ask", "id": "done"}], source="moved")
        for id in ("late", "asked", "second"):
            await put_answer(runners, log.started("id", id))
        await log.until_count("saga.completed", 9 + 1)
        await log.until_count("saga.joined")
        fourth.terminate()
        assert await fourth.wait() == 0
    assert log.kinds()["owner.acquired"] >= 4
    assert broken_runs(log.events) == {}
    effects = Counter(line.split()[0] for line in runners.effects())
    assert (len(effects), set(effects.values())) == (9 + 1, {1})
