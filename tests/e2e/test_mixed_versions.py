"""An upgrade under load, in the order of docs/operating/upgrades.md: an earlier version is replaced by this one, one
replica after the other, and partly comes back. Both serve one deployment meanwhile, and share partitions and tables."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from sagahook_schemas.identity import child_id
from tests.earlier import unpacked
from tests.moved_world import put_answer
from tests.rolling import KINDS, Rollout, rolled_out
from tests.runner_harness import RunnerHarness
from tests.runner_log import Follower, following

INGEST, RUNNER, PROJECTOR, API, NOTIFIER = KINDS
READERS_FIRST = (API, PROJECTOR, NOTIFIER, RUNNER, INGEST)
STANDING = (("ask", "asked"), ("ask", "late"), ("nap", "nap"), ("whole", "whole"), ("limited", "first"))
"""Sagas that wait for an answer, a time, a child; and one behind which the next of its kind waits."""
SETTINGS = {"SAGAHOOK_APP": "tests.apps.mixed", "NAP_SECONDS": "30"}


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_two_versions_serve_one_deployment_and_nothing_is_refused_lost_or_repeated(
    kafka_bootstrap: str, topic_prefix: str, empty_database_url: str, tmp_path: Path
) -> None:
    where = (tmp_path, kafka_bootstrap, topic_prefix, empty_database_url)
    earlier = unpacked(tmp_path)
    runners = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path)
    async with rolled_out(*where, tree=earlier, settings=SETTINGS) as rollout, following(runners) as log:
        for what in STANDING:
            await _post(rollout, *what)
        await log.until_count("step.awaiting", 3 + 1)
        load, stopping = rollout.load(rate=8), asyncio.Event()
        sending = asyncio.create_task(load.run(stopping))

        await rollout.prepare()
        for kind in (*READERS_FIRST, *READERS_FIRST):
            await rollout.replace(kind)
        await _post(rollout, "limited", "second")
        await put_answer(runners, await _begun(log, "asked"))
        for kind in (RUNNER, NOTIFIER, PROJECTOR):
            await rollout.replace(kind, earlier)
        await put_answer(runners, await _begun(log, "late"))
        await rollout.replace(RUNNER)

        stopping.set()
        await sending
        await put_answer(runners, child_id(await _begun(log, "whole"), 1, "part"))
        await put_answer(runners, await _begun(log, "first"))
        second = await _begun(log, "second")
        await log.until(lambda: "step.awaiting answer" in log.story(second))
        await put_answer(runners, second)
        assert len(load.accepted) > 50
        assert await rollout.violations(load, others=len(STANDING) + 2) == {}
        assert (await rollout.say("tracker", "verify")).startswith("0 differences in ")
        await rollout.stop()
        assert rollout.exit_codes.keys() == {0}


async def _post(rollout: Rollout, kind: str, id: str) -> None:
    """Until each ingest has read that somebody wants it."""
    url = f"{rollout.balancers[INGEST].url}/webhooks/moved"
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        status = 404
        while status == 404:
            async with session.post(url, json={"kind": kind, "id": id}) as answer:
                status = answer.status
    assert status == 202


async def _begun(log: Follower, id: str) -> str:
    """The saga of that one of `tests.apps.moved`, as soon as the log tells of it."""
    found: list[str] = []

    def is_told() -> bool:
        begun = (e for e in log.events if e.kind == "saga.started" and e.data["context"].get("id") == id)
        found.extend(e.envelope.saga_id for e in begun)
        return bool(found)

    await log.until(is_told)
    return found[0]
