"""ingest when more arrives than Kafka takes, and when it is told to stop in the middle of it."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.settings import IngestSettings
from sagahook_schemas.topics import BODY_LIMIT
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, serving, settings_for
from tests.ingest_process import ingest_process
from tests.processes import halted

PREFIX = "overload"
SOURCES = '{"orders": {"rate_limit": "none"}}'


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    """A broker with topics, for this test to halt."""
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    await kafka.start()
    await ensure_topics(kafka.bootstrap, PREFIX, PARTITIONS)
    yield kafka
    await kafka.stop()


def settings(broker: EmbeddedKafka, **bounds: int) -> IngestSettings:
    """Of a replica that waits longer than a broker is halted here."""
    return settings_for(broker.bootstrap, PREFIX, publish_timeout=60.0, **bounds)


def is_try_again(answer: Answer) -> bool:
    return answer.status == 503 and int(answer.headers["Retry-After"]) > 0


async def until_done(tasks: list[asyncio.Task[Answer]], count: int) -> None:
    async with asyncio.timeout(50):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.01)


async def test_what_would_take_more_memory_than_it_may_is_refused_at_once(broker: EmbeddedKafka) -> None:
    body = b'"' + b"x" * 999_998 + b'"'
    fits = BODY_LIMIT // len(body)
    async with serving(settings(broker, max_in_flight_bytes=BODY_LIMIT)) as ingest:
        with halted(broker.pid):
            sent = [asyncio.create_task(ingest.post("/webhooks/orders", body)) for _ in range(fits + 10)]
            await until_done(sent, 10)
            assert sum(not task.done() for task in sent) <= fits
            refused = [task.result() for task in sent if task.done()]
            assert all(is_try_again(answer) for answer in refused)
            assert any("Too many" in answer.body["error"] for answer in refused)
        answers = await asyncio.gather(*sent)
    accepted = {answer.body["event_id"] for answer in answers if answer.status == 202}
    held = {
        record.key.decode() for record in await Log(broker.bootstrap, PREFIX).read() if record.value == body
    }
    assert accepted
    assert accepted <= held


async def deliver(ingest: ServedIngest, answers: list[Answer]) -> Answer:
    """Send one webhook until it is accepted, under one key, as a sender does."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        answer = await ingest.post("/webhooks/orders", headers=key)
        answers.append(answer)
        if answer.status == 202:
            return answer
        await asyncio.sleep(0.05)


async def test_ten_times_what_may_wait_is_taken_or_told_to_try_again_and_in_the_end_each_is_taken_once(
    broker: EmbeddedKafka,
) -> None:
    answers: list[Answer] = []
    async with serving(settings(broker, max_in_flight=20)) as ingest:
        with halted(broker.pid):
            senders = [asyncio.create_task(deliver(ingest, answers)) for _ in range(200)]
            async with asyncio.timeout(50):
                while len(answers) < 500:
                    await asyncio.sleep(0.01)
            assert all(is_try_again(answer) for answer in answers)
            assert "sagahook_ingest_publishing 20.0" in (await ingest.get("/metrics")).body
        accepted = await asyncio.gather(*senders)
        assert all(answer.status == 202 or is_try_again(answer) for answer in answers)
        assert "sagahook_ingest_publishing 0.0" in (await ingest.get("/metrics")).body
        assert (await ingest.get("/health")).status == 200
    records = await Log(broker.bootstrap, PREFIX).read()
    assert sorted(r.key.decode() for r in records) == sorted(a.body["event_id"] for a in accepted)
    assert len(records) == 200


async def post(session: aiohttp.ClientSession, base_url: str) -> Answer:
    async with session.post(f"{base_url}/webhooks/orders", json={}) as response:
        return Answer(response.status, response.headers, await response.json())


async def test_a_replica_that_is_told_to_stop_while_kafka_is_mute_tells_its_senders_to_try_again(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    environment = {"SAGAHOOK_SOURCES": SOURCES, "SAGAHOOK_PUBLISH_TIMEOUT": "1.5"}
    async with (
        ingest_process(broker.bootstrap, PREFIX, tmp_path / "ingest.log", **environment) as ingest,
        aiohttp.ClientSession() as session,
    ):
        with halted(broker.pid):
            sent = [asyncio.create_task(post(session, ingest.base_url)) for _ in range(10)]
            await ingest.until_publishing(10)
            ingest.send(signal.SIGTERM)
            answers = await asyncio.gather(*sent)
            assert await ingest.wait() == 0
    assert all(is_try_again(answer) for answer in answers)
