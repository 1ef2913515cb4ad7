"""Sagas of HTTP steps on a real runner process: what the called host sees, and what the log says of its answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest_asyncio
from aiohttp import web
from orjson import loads

from sagahook.runtime.topics import ensure_topics
from tests.http_host import Host, open_host
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import Follower, assert_fold_is_snapshots, following

MILLISECOND = timedelta(milliseconds=1)
"""Kafka's, and so an event's, time is no finer."""


@dataclass
class Shop:
    """Two services behind one host. Each answers what stands next in its list, then as it does when all is well."""

    host: Host
    runners: RunnerHarness
    log: Follower
    charges: list[web.Response] = field(default_factory=list)
    parcels: list[web.Response] = field(default_factory=list)
    holding: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.holding is not None and request.method == "PUT":
            await self.holding.wait()
        answers = self.charges if request.path.startswith("/charges") else self.parcels
        if request.method != "DELETE" and answers:
            return answers.pop(0)
        if request.method == "POST":
            return web.json_response({"id": "c-1"}, status=201)
        return web.json_response({})

    async def run(self) -> str:
        """A saga to its end; its id."""
        await self.begin()
        await self.log.until_ended(1)
        return self.log.started("id", "o-7")

    async def begin(self) -> None:
        await self.runners.start_runner(HOST_URL=self.host.url)
        await self.runners.publish([{"id": "o-7"}], "called")

    def seen(self, header: str) -> list[str | None]:
        return [request.headers.get(header) for request in self.host.requests]

    def called(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.host.requests]


@pytest_asyncio.fixture
async def shop(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Shop]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    runners = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, app="tests.apps.called")
    async with open_host() as host, following(runners) as log:
        shop = Shop(host, runners, log)
        host.answer = shop.answer
        yield shop
        log.assert_sound()
        await runners.stop()
        await assert_fold_is_snapshots(runners)


async def test_a_host_that_says_when_to_come_again_is_asked_then_under_the_same_key(shop: Shop) -> None:
    shop.charges += [web.Response(status=503, headers={"Retry-After": "2"})]
    saga = await shop.run()
    assert shop.log.story(saga) == [
        "saga.started",
        "step.scheduled charge",
        "step.failed charge",
        "step.retry_scheduled charge",
        "step.scheduled charge",
        "step.completed charge",
        "step.scheduled ship",
        "step.completed ship",
        "saga.completed",
    ]
    failed, retry, again = shop.log.of(saga)[2:5]
    assert failed.data["outcome"] == "failed"
    due_at = datetime.fromisoformat(retry.data["due_at"])
    assert due_at - failed.envelope.time >= timedelta(seconds=2)
    assert again.envelope.time >= due_at - MILLISECOND
    assert shop.seen("Idempotency-Key") == [
        f"{saga}/1/charge/action",
        f"{saga}/1/charge/action",
        f"{saga}/1/ship/action",
    ]
    assert set(shop.seen("X-Correlation-ID")) == {shop.log.of(saga)[0].envelope.correlation_id}
    assert [loads(body) for body in shop.host.bodies] == [{"order": "o-7"}] * 2 + [{"charge": "c-1"}]


async def test_a_refusal_is_final_and_what_was_done_is_undone_by_a_request(shop: Shop) -> None:
    shop.parcels += [web.json_response({"detail": "no such address"}, status=422)]
    saga = await shop.run()
    assert shop.log.of(saga)[-1].kind == "saga.rolled_back"
    assert "no such address" in shop.log.of(saga)[-1].data["error"]
    assert shop.called() == ["POST /charges", "PUT /parcels/o-7", "DELETE /charges/c-1"]
    assert shop.seen("Idempotency-Key")[-1] == f"{saga}/1/charge/compensation"
    assert shop.seen("X-Compensates") == [None, None, f"{saga}/1/charge/action"]


async def test_a_request_that_was_under_way_when_its_runner_was_killed_is_made_again_under_its_key(
    shop: Shop,
) -> None:
    shop.holding = asyncio.Event()
    await shop.begin()
    await shop.log.until(lambda: "PUT /parcels/o-7" in shop.called())
    shop.runners.processes[-1].kill()
    shop.holding.set()
    await shop.runners.start_runner(HOST_URL=shop.host.url)
    await shop.log.until_ended(1)
    assert shop.called() == ["POST /charges", "PUT /parcels/o-7", "PUT /parcels/o-7"]
    assert len(set(shop.seen("Idempotency-Key"))) == 2
    assert shop.log.kinds()["saga.completed"] == 1
