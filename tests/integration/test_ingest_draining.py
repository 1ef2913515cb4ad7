"""A replica that is told to stop: what it took it answers, what is new it refuses, and no answer is untrue."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest_asyncio

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Log, serving, settings_for
from tests.processes import halted

SENDERS = 30


@dataclass
class Load:
    """Senders that send one webhook after another, until nobody listens any more."""

    url: str
    session: aiohttp.ClientSession
    accepted: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        await asyncio.gather(*(self._send() for _ in range(SENDERS)))

    async def _send(self) -> None:
        while True:
            try:
                async with self.session.post(self.url, json={}) as answer:
                    told = await answer.json()
            except aiohttp.ClientConnectorError:
                return
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # One that was kept and is closed now, or was not taken up yet when the listener closed.
                self.others["closed"] += 1
                continue
            if answer.status == 202:
                self.accepted.append(told["event_id"])
                continue
            assert (answer.status, answer.headers["Connection"]) == (503, "close"), told
            assert int(answer.headers["Retry-After"]) > 0
            self.others["stopping"] += 1
            await asyncio.sleep(0.01)


async def test_under_load_each_accepted_webhook_is_in_the_log_and_each_in_the_log_was_answered(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    log = Log(kafka_bootstrap, topic_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    async with aiohttp.ClientSession() as session:
        async with AsyncExitStack() as replica:
            ingest = await replica.enter_async_context(serving(settings_for(log.bootstrap, log.prefix)))
            load = Load(f"{ingest.base_url}/webhooks/orders", session)
            sending = asyncio.create_task(load.run())
            while len(load.accepted) < 200:
                await asyncio.sleep(0.01)
            ingest.stopping.set()
            while load.others["stopping"] < SENDERS:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(sending, 10)
    records = await log.read()
    assert sorted(record.key.decode() for record in records) == sorted(load.accepted)


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    """A broker with topics, for this test to halt."""
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    await kafka.start()
    await ensure_topics(kafka.bootstrap, "draining", PARTITIONS)
    yield kafka
    await kafka.stop()


async def test_what_waits_for_kafka_is_answered_and_what_comes_meanwhile_is_told_to_go_elsewhere(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_for(broker.bootstrap, "draining", publish_timeout=20.0)
    async with serving(settings) as ingest:
        with halted(broker.pid):
            waiting = [asyncio.create_task(ingest.post("/webhooks/orders")) for _ in range(10)]
            while "sagahook_ingest_publishing 10.0" not in (await ingest.get("/metrics")).body:
                await asyncio.sleep(0.01)
            ingest.stopping.set()
            while (await ingest.get("/readyz")).status != 503:
                await asyncio.sleep(0.01)
            refused = await ingest.post("/webhooks/orders")
            assert (refused.status, refused.headers["Connection"]) == (503, "close")
            assert "stopping" in refused.body["error"]
            assert not any(task.done() for task in waiting)
        answers = await asyncio.gather(*waiting)
    assert {answer.status for answer in answers} == {202}
    keys = sorted(record.key.decode() for record in await Log(broker.bootstrap, "draining").read())
    assert keys == sorted(answer.body["event_id"] for answer in answers)
