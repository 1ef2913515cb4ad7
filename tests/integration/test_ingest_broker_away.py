"""ingest while its broker is away, slow, and back: 503 with Retry-After, and no restart of the service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, serving, settings_for
from tests.processes import halted

KEY = {"Idempotency-Key": "once"}


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    """A broker with topics, for this test to stop and start."""
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    await kafka.start()
    await ensure_topics(kafka.bootstrap, "away", PARTITIONS)
    yield kafka
    await kafka.stop()


def is_try_again(answer: Answer) -> bool:
    return (
        answer.status == 503 and int(answer.headers["Retry-After"]) > 0 and answer.body["status_code"] == 503
    )


async def until_accepted(ingest: ServedIngest, headers: dict[str, str] | None = None) -> Answer:
    async with asyncio.timeout(30):
        while (answer := await ingest.post("/webhooks/orders", headers=headers)).status != 202:
            assert is_try_again(answer)
            await asyncio.sleep(0.1)
    return answer


async def until_health_is(ingest: ServedIngest, status: int) -> None:
    async with asyncio.timeout(30):
        while (await ingest.get("/health")).status != status:
            await asyncio.sleep(0.1)


async def test_a_service_that_starts_before_its_broker_waits_and_then_serves(broker: EmbeddedKafka) -> None:
    await broker.stop()
    async with serving(settings_for(broker.bootstrap, "away"), ready=False) as ingest:
        assert (await ingest.get("/livez")).status == 200
        assert (await ingest.get("/readyz")).status == 503
        assert is_try_again(await ingest.post("/webhooks/orders"))
        await broker.start()
        await ingest.until_ready()
        assert (await ingest.post("/webhooks/orders")).status == 202


async def test_a_broker_that_goes_and_comes_back_needs_no_restart_of_ingest(broker: EmbeddedKafka) -> None:
    log = Log(broker.bootstrap, "away")
    async with serving(settings_for(broker.bootstrap, "away", publish_timeout=1.0)) as ingest:
        before = await ingest.post("/webhooks/orders")
        await broker.stop()
        assert is_try_again(await ingest.post("/webhooks/orders", headers=KEY))
        assert is_try_again(await ingest.post("/webhooks/orders", headers=KEY))
        await until_health_is(ingest, 503)
        assert 'sagahook_ready{service="ingest"} 0.0' in (metrics := (await ingest.get("/metrics")).body)
        assert 'sagahook_health{check="kafka"} 2.0' in metrics
        await broker.start()
        after = await until_accepted(ingest, KEY)
        await until_health_is(ingest, 200)
        assert 'sagahook_ready{service="ingest"} 1.0' in (await ingest.get("/metrics")).body
        keys = [record.key.decode() for record in await log.read()]
        # What the two refused requests left under way is what the third was answered with.
        assert sorted(keys) == sorted({before.body["event_id"], after.body["event_id"]})


async def test_when_too_much_waits_for_a_slow_broker_the_rest_is_refused_at_once(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_for(broker.bootstrap, "away", publish_timeout=5.0, max_in_flight=3)
    async with serving(settings) as ingest:
        await ingest.post("/webhooks/orders")
        with halted(broker.pid):
            waiting = [asyncio.create_task(ingest.post("/webhooks/orders")) for _ in range(3)]
            async with asyncio.timeout(30):
                while "sagahook_ingest_publishing 3.0" not in (await ingest.get("/metrics")).body:
                    await asyncio.sleep(0.01)
            refused = await ingest.post("/webhooks/orders")
            assert is_try_again(refused)
            assert "Too many" in refused.body["error"]
            assert not any(task.done() for task in waiting)
            assert all(is_try_again(answer) for answer in await asyncio.gather(*waiting))
        await until_accepted(ingest)


async def test_a_batch_of_which_nothing_can_be_taken_now_is_to_be_sent_again_as_a_whole(
    broker: EmbeddedKafka,
) -> None:
    sources = {"orders": Source(), "shop": Source(idempotency_key="body:key")}
    settings = settings_for(broker.bootstrap, "away", publish_timeout=1.0, sources=sources)
    async with serving(settings) as ingest:
        await ingest.post("/webhooks/orders")
        with halted(broker.pid):
            answer = await ingest.post("/webhooks/orders/batch", b"[1, 2]")
            mixed = await ingest.post("/webhooks/shop/batch", b'[{"key": "' + b"x" * 256 + b'"}, 1]')
        assert is_try_again(answer)
        assert mixed.status == 207
        assert [each["status"] for each in mixed.body["results"]] == ["refused", "unavailable"]
        assert mixed.body["results"][1]["retry_after"] > 0
