"""Notifiers that are killed and stalled while they send: nothing is lost, and what is in order stays so."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from tests.notifier_harness import SECRET, Answer, Deployment, Receiver, started
from tests.preforked import Preforked
from tests.processes import halted

LEASE = 1.0  # seconds
PER_ENDPOINT = 4
OPTIONS = {
    "notify_lease": LEASE,
    "notify_timeout": 0.9 * LEASE,
    "session_timeout": 2.0,
    "notify_endpoint_concurrency": PER_ENDPOINT,
    "notify_breaker_failures": 1_000,
}


def endpoint(receiver: Receiver, path: str, **options: Any) -> dict[str, Any]:
    return {
        "id": path,
        "url": f"{receiver.url}/{path}",
        "secret": SECRET,
        "event_types": ["task_started"],
        "retry_policy": [0.05] * 50,
    } | options


def _slow(seconds: float) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response()

    return answer


ANSWERS: tuple[int | Answer, ...] = (_slow(0.01), _slow(0.05), 500)


class Fleet:
    """Notifiers that share the work, in processes of their own."""

    def __init__(self, deployment: Deployment, receiver: Receiver, folder: Path) -> None:
        self._deployment = deployment
        self._folder = folder
        self._endpoints = (endpoint(receiver, "hook"), endpoint(receiver, "line", ordered=True))
        self._running = AsyncExitStack()
        self._started = 0
        self.alive: list[Preforked] = []
        self.interrupted = 0
        """How many were killed or stalled."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    async def start(self) -> Preforked:
        self._started += 1
        folder = self._folder / str(self._started)
        folder.mkdir()
        process = self._deployment.process(folder, *self._endpoints, **OPTIONS)
        self.alive.append(await self._running.enter_async_context(process))
        return self.alive[-1]

    def kill(self, process: Preforked) -> None:
        process.kill()
        self.alive.remove(process)
        self.interrupted += 1

    async def stall(self, process: Preforked) -> None:
        """Past its lease."""
        self.interrupted += 1
        with halted(process.pid):
            await asyncio.sleep(2 * LEASE)


async def load(deployment: Deployment, sagas: int) -> None:
    for number in range(sagas):
        await deployment.log.write(f"s-{number}", started(f"s-{number}"))
        await asyncio.sleep(0.02)


async def assert_that_nothing_was_lost_and_the_line_kept_its_order(
    deployment: Deployment, receiver: Receiver, fleet: Fleet
) -> None:
    rows = await deployment.pool.fetch(
        "SELECT id, endpoint_id, status FROM notifier.deliveries ORDER BY number"
    )
    assert {row["status"] for row in rows} == {"succeeded"}
    for name in ("hook", "line"):
        arrived = [arrival.delivery_id for arrival in receiver.at(f"/{name}")]
        planned = [row["id"] for row in rows if row["endpoint_id"] == name]
        assert set(arrived) == set(planned)
        recorded = await deployment.pool.fetchval(
            "SELECT count(*) FROM notifier.attempts JOIN notifier.deliveries AS d ON d.id = delivery_id"
            " WHERE d.endpoint_id = $1",
            name,
        )
        # Sent without a record of it: what was under way when a process was killed or stalled.
        assert len(arrived) - recorded <= fleet.interrupted * (PER_ENDPOINT if name == "hook" else 1)
    line = [arrival.delivery_id for arrival in receiver.at("/line")]
    assert list(dict.fromkeys(line)) == [row["id"] for row in rows if row["endpoint_id"] == "line"]


async def test_dispatchers_that_are_killed_and_stalled_under_load_lose_nothing_and_keep_the_order(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    sagas = 40
    for path in ("/hook", "/line"):
        receiver.answer(path, *random.Random(7).choices(ANSWERS, k=60), 204)
    async with Fleet(deployment, receiver, tmp_path) as fleet:
        first, second = await fleet.start(), await fleet.start()
        loading = asyncio.create_task(load(deployment, sagas))
        await receiver.wait_for(8)
        fleet.kill(first)
        await fleet.start()
        await receiver.wait_for(16)
        await fleet.stall(second)
        await loading
        await deployment.wait_until_finished(2 * sagas)

    await assert_that_nothing_was_lost_and_the_line_kept_its_order(deployment, receiver, fleet)


@pytest.mark.long
async def test_the_same_of_thousands_of_deliveries_with_kills_at_random_two_at_once_and_stalls(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    sagas, rounds, chance = 2_500, 20, random.Random(7)
    for path in ("/hook", "/line"):
        receiver.answer(path, *chance.choices(ANSWERS, weights=(6, 1, 1), k=sagas), 204)
    async with Fleet(deployment, receiver, tmp_path) as fleet:
        for _ in range(3):
            await fleet.start()
        loading = asyncio.create_task(load(deployment, sagas))
        for number in range(1, rounds + 1):
            await receiver.wait_for(number * sagas // (rounds + 2), seconds=120)
            await asyncio.sleep(chance.uniform(0, 0.1))
            victims = chance.sample(fleet.alive, 2)
            if number % 4 == 0:
                await fleet.stall(victims[1])
            for victim in victims[: chance.choice((1, 2))]:
                fleet.kill(victim)
                await fleet.start()
        await loading
        await deployment.wait_until(
            "SELECT count(*) = $1 AND bool_and(status <> 'pending') FROM notifier.deliveries",
            2 * sagas,
            seconds=180,
        )

    await assert_that_nothing_was_lost_and_the_line_kept_its_order(deployment, receiver, fleet)
