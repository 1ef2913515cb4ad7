"""Notifiers that are killed and stalled while they send: nothing is lost, and what is in order stays so."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from tests.notifier_harness import SECRET, Answer, Deployment, Receiver, deploy, open_receiver, started
from tests.preforked import Preforked
from tests.processes import halted

LEASE = 1.0  # seconds


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as opened:
        yield opened


@pytest_asyncio.fixture
async def deployment(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Deployment]:
    async with deploy(kafka_bootstrap, topic_prefix, database_url) as deployed:
        yield deployed


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


async def test_dispatchers_that_are_killed_and_stalled_under_load_lose_nothing_and_keep_the_order(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    sagas, per_endpoint = 40, 4
    endpoints = (
        endpoint(receiver, "hook"),
        endpoint(receiver, "line", ordered=True),
    )
    options = {
        "notify_lease": LEASE,
        "notify_timeout": 0.9 * LEASE,
        "session_timeout": 2.0,
        "notify_endpoint_concurrency": per_endpoint,
        "notify_breaker_failures": 1_000,
    }
    for path in ("/hook", "/line"):
        receiver.answer(path, *random.Random(7).choices((_slow(0.01), _slow(0.05), 500), k=60), 204)

    async def load() -> None:
        for number in range(sagas):
            await deployment.log.write(f"s-{number}", started(f"s-{number}"))
            await asyncio.sleep(0.02)

    async with AsyncExitStack() as running:

        async def start(name: str) -> Preforked:
            folder = tmp_path / name
            folder.mkdir()
            return await running.enter_async_context(deployment.process(folder, *endpoints, **options))

        killed, stalled = await start("first"), await start("second")
        loading = asyncio.create_task(load())
        await receiver.wait_for(8)
        killed.kill()
        await start("third")
        await receiver.wait_for(16)
        with halted(stalled.pid):
            await asyncio.sleep(2 * LEASE)
        await loading
        await deployment.wait_until_finished(2 * sagas)

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
        assert len(arrived) - recorded <= 2 * per_endpoint
    line = [arrival.delivery_id for arrival in receiver.at("/line")]
    assert list(dict.fromkeys(line)) == [row["id"] for row in rows if row["endpoint_id"] == "line"]
