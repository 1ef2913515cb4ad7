"""SIGKILL of saga-runners at random under load: every webhook is routed once, every saga begins once.

The default run has this in `test_everything_is_killed.py`, with all services; here only runners, and many more of their
deaths, so that some come between a router's starts and its word (docs/decisions/0034).
"""

import asyncio
import random
from collections import Counter

import pytest

from tests.runner_harness import RunnerHarness
from tests.runner_log import all_routed

SECONDS = 90
AT_ONCE = 20
"""Webhooks, of which two are for each saga: the first starts it, the second joins it."""


@pytest.mark.long
async def test_whatever_is_killed_each_webhook_is_routed_once_and_each_saga_begins_and_ends_once(
    runners: RunnerHarness,
) -> None:
    published: list[str] = []
    over = asyncio.Event()
    load = asyncio.create_task(publish_until(over, runners, published))
    alive = [await runners.start_runner(), await runners.start_runner()]
    async with asyncio.timeout(SECONDS * 2):
        for pause in pauses():
            await asyncio.sleep(pause)
            victim = alive.pop(random.randrange(2))  # any will do
            victim.kill()
            await victim.wait()
            alive.append(await runners.start_runner())
    over.set()
    await load

    sagas = len(published) // 2
    events = await runners.read_until_final(sagas, 200)
    begun = Counter(event.envelope.saga_id for event in events if event.kind == "saga.started")
    assert len(begun) == begun.total() == sagas
    joined = {event.envelope.id: event.data["event_id"] for event in events if event.kind == "saga.joined"}
    assert len(joined) == len({*joined.values()}) == sagas, "one that joined twice did under one id"
    assert Counter(await all_routed(runners, len(published))) == Counter(published)


def pauses() -> list[float]:
    """Seconds between two deaths."""
    made: list[float] = []
    while sum(made) < SECONDS:
        made.append(random.uniform(0.5, 4))  # no secret
    return made


async def publish_until(over: asyncio.Event, runners: RunnerHarness, published: list[str]) -> None:
    while not over.is_set():
        number = len(published)
        published += await runners.publish([{"id": (number + each) // 2} for each in range(AT_ONCE)])
        await asyncio.sleep(0.3)
