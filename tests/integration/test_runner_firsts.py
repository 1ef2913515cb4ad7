"""Two replicas of ingest take one Idempotency-Key with two bodies in the same instant: the first record wins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.domain.webhook import OnceOnly, Webhook
from sagahook_schemas.topics import WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness, poll


@asynccontextmanager
async def replica(runners: RunnerHarness) -> AsyncIterator[GroupPublisher]:
    """As ingest writes what it has accepted; neither knows of the other."""
    topic = WEBHOOKS_RECEIVED.name(runners.prefix)
    publisher = GroupPublisher(
        runners.bootstrap, topic, PARTITIONS, timeout=5, max_records=10, max_bytes=2**26
    )
    running = asyncio.create_task(publisher.run())
    await publisher.connected.wait()
    yield publisher
    running.cancel()
    await asyncio.wait({running})


def webhook(body: bytes) -> Webhook:
    once = (OnceOnly.of_key("effects", "the-key", body),)
    now = datetime.now(UTC)
    return Webhook("effects", "", now, body.decode(), "application/json", body, once)


async def routed(runners: RunnerHarness, count: int) -> dict[str, LogEvent]:
    found: dict[str, LogEvent] = {}
    async with runners.reader(WEBHOOKS_ROUTED) as consumer, asyncio.timeout(30):
        while len(found) < count:
            found |= {event.envelope.causation_id: event for event in await poll(consumer)}
    return found


async def test_the_first_record_wins_and_the_other_webhook_ends_failed_and_says_why(
    runners: RunnerHarness,
) -> None:
    async with AsyncExitStack() as replicas:
        publishers = [await replicas.enter_async_context(replica(runners)) for _ in range(2)]
        bodies = (b'{"id": 1}', b'{"id": 2}')
        published = await asyncio.gather(
            *(publisher.publish(webhook(body)) for publisher, body in zip(publishers, bodies, strict=True))
        )
    first, second = sorted(published, key=lambda each: each.offset or 0)
    assert first.partition == second.partition
    await runners.start_runner()
    events = await routed(runners, 2)
    assert events[first.event_id].data["outcome"] == "triggered"
    assert events[second.event_id].data["outcome"] == "failed"
    assert "Idempotency-Key was used with another body" in events[second.event_id].data["reason"]
    assert first.event_id in events[second.event_id].data["reason"]
    log = await runners.read_until_final(1)
    assert {event.envelope.saga_id for event in log if event.envelope.saga_id} == {
        events[first.event_id].data["sagas"][0]["saga_id"]
    }
