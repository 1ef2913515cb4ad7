"""When attempts are made, and when they are not: days by a clock that the test owns, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sagahook_notifier.domain.policies import NAMED
from tests.dispatch_harness import NOON, World, world
from tests.notifier_harness import Answer


@pytest_asyncio.fixture
async def here(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


@pytest_asyncio.fixture
async def two(database_url: str) -> AsyncIterator[World]:
    async with world(database_url, dispatchers=2) as made:
        yield made


def busy(retry_after: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": retry_after})

    return answer


async def attempt_times(here: World) -> list[float]:
    """Seconds since noon."""
    rows = await here.pool.fetch("SELECT started_at FROM notifier.attempts ORDER BY delivery_id, attempt")
    return [(row["started_at"] - NOON).total_seconds() for row in rows]


@pytest.mark.parametrize("policy", ["standard", "task", "exponential"])
async def test_a_receiver_that_fails_for_days_gets_the_attempts_of_its_policy_when_they_are_due(
    here: World, policy: Any
) -> None:
    here.receiver.answer("/hook", 500)
    await here.endpoints("hook", retry_policy=policy)
    # A circuit that opens would be another test.
    delays = NAMED[policy].delays
    (delivery,) = await here.add("hook")
    for made, delay in enumerate(delays, 1):
        await here.recorded(made)
        await here.pool.execute("DELETE FROM notifier.endpoint_health")
        here.advance(delay - 0.001)
        await here.settled()
        assert len(here.sent("hook")) == made
        here.advance(0.001)
    await here.until("SELECT status = 'exhausted' FROM notifier.deliveries")
    here.advance(7 * 86_400)
    await here.settled()

    times = await attempt_times(here)
    assert times == [sum(delays[:made]) for made in range(len(delays) + 1)]
    assert here.sent("hook") == [delivery] * len(times)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("60", 60),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), 90),
        ("3", 5),  # never sooner than the policy
        ("99999999999", 86_400),
        ("soon", 5),
    ],
)
async def test_a_retry_after_is_heard_within_reason(here: World, header: str, seconds: float) -> None:
    here.receiver.answer("/hook", busy(header), 204)
    await here.endpoints("hook")
    await here.add("hook")
    await here.recorded(1)
    here.advance(seconds - 0.001)
    await here.settled()
    assert len(here.sent("hook")) == 1
    here.advance(0.001)
    await here.recorded(2)

    assert await attempt_times(here) == [0, seconds]


async def test_a_receiver_that_asks_for_rest_gets_it_from_its_other_deliveries_too(here: World) -> None:
    here.receiver.answer("/hook", busy("60"), 204)
    await here.endpoints("hook")
    await here.add("hook")
    await here.recorded(1)
    await here.add("hook", 5)
    here.advance(59)
    await here.settled()
    assert len(here.sent("hook")) == 1
    here.advance(1)
    await here.recorded(7)

    assert len(here.sent("hook")) == 7


async def test_a_410_disables_the_endpoint_and_those_who_asked_hear_of_it(here: World) -> None:
    gone = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await gone.wait()
        return web.Response(status=410)

    here.receiver.answer("/hook", answer)
    await here.endpoints("hook", ordered=True)
    await here.endpoints("operators", event_types=["endpoint.disabled"])
    first, second = await here.add("hook", 2)
    await here.receiver.wait_for(1)
    gone.set()
    (told,) = await here.receiver.wait_for(1, "/operators")

    payload = told.payload
    assert payload["type"] == "endpoint.disabled"
    assert payload["data"]["endpoint_id"] == "hook"
    assert "410" in payload["data"]["reason"]
    assert await here.status(first) == "exhausted"
    assert await here.status(second) == "pending"  # until a person enables it again
    here.advance(86_400)
    await here.settled()
    assert here.sent("hook") == [first]


async def test_an_endpoint_that_nothing_reached_for_days_is_disabled_and_those_who_asked_hear_of_it(
    here: World,
) -> None:
    here.receiver.answer("/hook", 500)
    await here.endpoints("hook", retry_policy=[86_400.0] * 9)
    await here.endpoints("operators", event_types=["endpoint.disabled"])
    await here.add("hook")
    for day in range(5):
        await here.recorded(day + 1)
        assert not here.receiver.at("/operators")
        here.advance(86_400)
    (told,) = await here.receiver.wait_for(1, "/operators")

    data = told.payload["data"]
    assert data["failing_since"] == "2026-03-01T12:00:00.000Z"
    assert "every attempt failed for 5 days" in data["reason"]
    row = await here.pool.fetchrow("SELECT * FROM notifier.endpoints WHERE id = 'hook'")
    assert row["disabled_at"] == NOON + timedelta(days=5)
    assert row["enabled"]  # that is what people want of it


async def test_one_success_ends_the_count_of_days(here: World) -> None:
    here.receiver.answer("/hook", 500, 500, 500, 200, 500)
    await here.endpoints("hook", retry_policy=[2 * 86_400.0] * 9)
    await here.add("hook", 1)
    for attempt in range(4):
        await here.recorded(attempt + 1)
        here.advance(2 * 86_400)
    await here.add("hook", 1)
    await here.recorded(5)

    assert await here.pool.fetchval("SELECT active FROM notifier.endpoints WHERE id = 'hook'")


async def test_a_dead_receiver_is_left_alone_and_then_asked_by_one_attempt_of_all_dispatchers(
    two: World,
) -> None:
    two.receiver.answer("/hook", 500)
    await two.endpoints("hook", retry_policy=[0.0] * 50)
    await two.add("hook", 40)
    # What is under way when the circuit opens ends; nothing follows.
    await two.until("SELECT open_until IS NOT NULL FROM notifier.endpoint_health")
    await two.settled()
    before = len(two.sent("hook"))
    assert before <= 2 * 16
    two.advance(29)
    await two.settled()
    assert len(two.sent("hook")) == before

    for probes, waits in ((1, 1), (2, 60), (3, 120)):
        two.advance(waits)
        await two.recorded(before + probes)
        await two.settled()
        assert len(two.sent("hook")) == before + probes

    two.receiver.answer("/hook", 204)
    two.advance(240)
    await two.until("SELECT bool_and(status = 'succeeded') FROM notifier.deliveries")
    assert await two.pool.fetchval("SELECT open_until IS NULL FROM notifier.endpoint_health")


async def test_a_probe_that_hangs_holds_back_all_others(two: World) -> None:
    two.receiver.answer("/hook", 500)
    await two.endpoints("hook", retry_policy=[0.0] * 50)
    await two.add("hook", 3)
    await two.until("SELECT open_until IS NOT NULL FROM notifier.endpoint_health")
    await two.settled()
    before = len(two.sent("hook"))
    hangs = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await hangs.wait()
        return web.Response()

    two.receiver.answer("/hook", hang)
    two.advance(30)
    await two.receiver.wait_for(before + 1)
    await two.add("hook", 5)
    await two.settled()
    assert len(two.sent("hook")) == before + 1

    hangs.set()
    await two.until("SELECT bool_and(status = 'succeeded') FROM notifier.deliveries")


async def test_an_ordered_endpoint_gets_one_after_the_other_and_waits_for_the_first(two: World) -> None:
    two.receiver.answer("/line", 204, 204, 500, 204)
    await two.endpoints("line", ordered=True)
    await two.endpoints("other")
    line = await two.add("line", 6)
    other = await two.add("other", 6)
    await two.recorded(9)
    await two.settled()
    assert two.sent("line") == line[:3]
    assert sorted(two.sent("other")) == other

    two.advance(5)
    await two.until("SELECT bool_and(status = 'succeeded') FROM notifier.deliveries")
    assert two.sent("line") == [*line[:3], *line[2:]]


async def test_an_ordered_endpoint_goes_on_behind_what_is_exhausted(here: World) -> None:
    here.receiver.answer("/line", 500, 204)
    await here.endpoints("line", ordered=True, retry_policy=[])
    line = await here.add("line", 3)
    await here.recorded(3)

    assert here.sent("line") == line
    assert await here.status(line[0]) == "exhausted"


async def test_a_rate_is_kept_by_all_dispatchers_together(two: World) -> None:
    await two.endpoints("slow", rate_limit="2/s burst 5")
    await two.endpoints("other")
    await two.add("slow", 20)
    await two.add("other", 20)
    await two.recorded(25)
    await two.settled()
    assert len(two.sent("slow")) == 5

    for seconds in range(1, 4):
        two.advance(1)
        await two.recorded(25 + 2 * seconds)
        await two.settled()
        assert len(two.sent("slow")) == 5 + 2 * seconds


async def test_a_long_queue_holds_up_nobody(here: World) -> None:
    hangs = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await hangs.wait()
        return web.Response()

    slow = [f"slow-{number}" for number in range(12)]
    for path in slow:
        here.receiver.answer(f"/{path}", hang)
    await here.endpoints(*slow, "quick")
    for path in slow:
        await here.add(path, 200)
    await here.settled()
    quick = await here.add("quick", 10)
    await here.receiver.wait_for(10, "/quick")

    assert sorted(here.sent("quick")) == quick
    hangs.set()


async def test_what_an_endpoints_owner_changes_counts_from_the_next_attempt(here: World) -> None:
    here.receiver.answer("/old", 500)
    await here.endpoints("old")
    await here.add("old")
    await here.recorded(1)
    await here.pool.execute("UPDATE notifier.endpoints SET url = $1", f"{here.receiver.url}/new")
    here.advance(5)
    await here.recorded(2)

    assert len(here.sent("old")) == len(here.sent("new")) == 1
