"""Limits on real runner processes: counted in the limit's own log and in what was really done.

`SAGAHOOK_TEST_SCALE`: multiplies how many sagas there are; 5 makes 200 of them.
"""

import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness
from tests.runner_log import Follower, following

SAGAS = int(40 * float(os.environ.get("SAGAHOOK_TEST_SCALE", "1")))


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    harness = RunnerHarness(
        kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.limited", settings={"STEP_SECONDS": "0.02"}
    )
    yield harness
    await harness.stop()


def most_at_once(effects: list[str]) -> int:
    """Keys whose attempts had begun and not ended. One that a crash cut off counts until it ended after all."""
    under_way: set[str] = set()
    most = 0
    for line in effects:
        key, _, what = line.split(" ")
        if what == "began":
            under_way.add(key)
            most = max(most, len(under_way))
        else:
            under_way.discard(key)
    return most


def slots(log: Follower, key: str) -> list[LogEvent]:
    """The log of one limit."""
    return [event for event in log.events if event.envelope.subject == key and not event.envelope.saga_id]


def assert_kept(slots: list[LogEvent], sagas: int) -> list[int]:
    """Granted less released never exceeds what was allowed; each waits once, in the order of the tickets, and gives its
    slot back. Of each grant, how many were held then."""
    waiting: list[tuple[int, str, int]] = []
    holding: set[tuple[str, int]] = set()
    held: list[int] = []
    for event in slots:
        run = (event.data["saga_id"], event.data["run"])
        match event.kind:
            case "limit.slot_requested":
                assert event.data["ticket"] == len(waiting) + len(held) + 1
                waiting.append((event.data["ticket"], *run))
            case "limit.slot_granted":
                assert (event.data["ticket"], *run) == waiting.pop(0), "granted in the order of the requests"
                holding.add(run)
                held.append(len(holding))
                assert event.data["in_use"] == len(holding)
                assert len(holding) <= event.data.get("allowed", sagas)
            case "limit.slot_released":
                holding.remove(run)
    assert (len(held), waiting, holding) == (sagas, [], set())
    return held


async def test_never_more_than_the_limit_run_at_once_and_each_gets_its_turn(runners: RunnerHarness) -> None:
    await runners.start_runner()
    await runners.start_runner()
    await runners.publish(({"id": number} for number in range(SAGAS)), source="limited")
    async with following(runners) as log:
        await log.until_count("limit.slot_released", SAGAS)
        await log.until_count("saga.completed", SAGAS)
    held = assert_kept(slots(log, "limit/counted"), SAGAS)
    assert max(held) == 2
    assert most_at_once(runners.effects()) <= 2
    log.assert_sound()


async def test_the_limit_holds_over_the_death_of_a_runner(runners: RunnerHarness) -> None:
    one = await runners.start_runner()
    other = await runners.start_runner()
    async with following(runners) as log:
        await log.until_count("owner.acquired", PARTITIONS)
        await runners.publish(({"id": number} for number in range(SAGAS)), source="limited")
        await log.until_count("saga.completed", SAGAS // 4)
        one.kill()
        await runners.start_runner()
        await log.until_count("saga.completed", SAGAS // 2)
        other.kill()
        await log.until_count("limit.slot_released", SAGAS)
        await log.until_count("saga.completed", SAGAS)
    assert max(assert_kept(slots(log, "limit/counted"), SAGAS)) == 2
    assert most_at_once(runners.effects()) <= 2
    log.assert_sound()


async def test_a_deploy_changes_the_limit_and_those_that_wait_need_not_be_told(
    runners: RunnerHarness,
) -> None:
    first = [await runners.start_runner(), await runners.start_runner()]
    async with following(runners) as log:
        await runners.publish(({"id": number} for number in range(SAGAS)), source="limited")
        await log.until_count("saga.completed", SAGAS // 4)
        for runner in first:
            runner.send_signal(signal.SIGTERM)
        assert [await runner.wait() for runner in first] == [0, 0], runners.logs()[-2000:]
        stopped_at = len(runners.effects())
        await runners.start_runner(MAX_CONCURRENT="5")
        await runners.start_runner(MAX_CONCURRENT="5")
        await log.until_count("limit.slot_released", SAGAS)
        await log.until_count("saga.completed", SAGAS)
    held = assert_kept(slots(log, "limit/counted"), SAGAS)
    allowed = [e.data["allowed"] for e in slots(log, "limit/counted") if e.kind == "limit.slot_granted"]
    changed = allowed.index(5)
    assert set(allowed[:changed]) == {2}
    assert set(allowed[changed:]) == {5}
    assert (max(held[:changed]), max(held[changed:])) == (2, 5)
    assert most_at_once(runners.effects()[:stopped_at]) <= 2
    assert most_at_once(runners.effects()) <= 5
    log.assert_sound()


async def test_no_saga_begins_earlier_than_the_rate_allows_also_when_a_runner_dies(
    runners: RunnerHarness,
) -> None:
    runners.settings |= {"RATE_COUNT": "5", "RATE_SECONDS": "0.5"}
    each = SAGAS // 2
    first = await runners.start_runner()
    await runners.start_runner()
    async with following(runners) as log:
        await log.until_count("owner.acquired", PARTITIONS)
        customers = [{"id": f"{who}-{n}", "customer": who} for n in range(each) for who in ("ann", "bob")]
        await runners.publish(customers, source="rated")
        await log.until_count("saga.completed", SAGAS // 3)
        first.kill()
        await log.until_count("saga.completed", 2 * each)
        await log.until_count("limit.slot_released", 2 * each)
    for customer in ("ann", "bob"):
        of_limit = slots(log, f"limit/rated/{customer}")
        assert_kept(of_limit, each)
        times = [event.envelope.time for event in of_limit if event.kind == "limit.slot_granted"]
        for before in range(5, len(times)):
            # A burst of five, and then one each 100 ms: the log's times are cut to the millisecond.
            for earlier in range(before - 4):
                apart = times[before] - times[earlier]
                assert apart >= timedelta(milliseconds=100 * (before - earlier - 4) - 1)
    log.assert_sound()
