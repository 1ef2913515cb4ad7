"""How far commands and webhooks were taken up the log itself says, whatever happens to its writer."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OwnershipLost
from sagahook_runner.adapters.restore import restore
from sagahook_runner.handlers import owner
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_RECEIVED
from tests.kafka_transactions import committed
from tests.owners import Owners
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import all_routed, routed


async def test_a_runner_that_died_before_it_told_the_group_takes_up_nothing_twice(
    runners: RunnerHarness,
) -> None:
    first = await runners.start_runner()
    ids = [*await runners.publish([{"id": number} for number in range(40)])]
    await runners.wait_for_log("saga.started", 30)
    first.kill()
    await first.wait()

    await runners.start_runner()
    ids += await runners.publish([{"id": 40}])
    events = await runners.read_until_final(41)

    kinds = Counter(event.kind for event in events)
    assert (kinds["saga.started"], kinds["saga.joined"]) == (41, 0)
    assert Counter(await all_routed(runners, len(ids))) == Counter(ids)


async def test_the_group_hears_how_far_they_were_taken_while_the_runner_works(runners: RunnerHarness) -> None:
    await runners.start_runner()
    await runners.publish([{"id": number} for number in range(5)])
    async with routers_group(runners) as (consumer, places), asyncio.timeout(30):
        while sum([await consumer.committed(place) or 0 for place in places]) < 5:
            await asyncio.sleep(0.1)


async def test_an_offset_that_an_operator_set_stands_whatever_the_log_says(runners: RunnerHarness) -> None:
    first = await runners.start_runner()
    ids = await runners.publish([{"id": 1}])
    await runners.read_until_final(1)
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 0
    await set_to_the_beginning(runners)

    await runners.start_runner()
    async with asyncio.timeout(60):
        while (found := await routed(runners)) == ids:
            await asyncio.sleep(0.1)

    assert found == [*ids, *ids]


async def test_what_an_earlier_owner_wrote_at_the_last_moment_is_restored_first(
    kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    owners = Owners(kafka_bootstrap, topic_prefix)
    earlier = await owners.take_over()

    async def restore_and_be_late(*arguments: object) -> object:
        restored = await restore(*arguments)  # type: ignore[arg-type]  # whatever it is given
        monkeypatch.setattr(owner, "restore", restore)
        await earlier._writer.commit(owners.event(), {}, "")
        return restored

    monkeypatch.setattr(owner, "restore", restore_and_be_late)
    hasty = owners.make()
    with pytest.raises(OwnershipLost, match="went on"):
        await hasty.take_over()
    patient = await owners.take_over()

    log = await committed(kafka_bootstrap, SAGA_EVENTS.name(topic_prefix))
    assert [record.split(",")[1] for record in log] == ['"epoch":1', '"epoch":1', '"epoch":2', '"epoch":3']
    with pytest.raises(OwnershipLost):
        await earlier._writer.commit(owners.event(), {}, "")
    for each in (earlier, hasty, patient):
        await each.close()


async def set_to_the_beginning(runners: RunnerHarness) -> None:
    """As kafka-consumer-groups.sh --reset-offsets --to-earliest does."""
    async with routers_group(runners) as (consumer, places):
        await consumer.commit(dict.fromkeys(places, 0))


@asynccontextmanager
async def routers_group(
    runners: RunnerHarness,
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """To ask and to set its offsets, without being one of its members."""
    places = [TopicPartition(WEBHOOKS_RECEIVED.name(runners.prefix), number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=runners.bootstrap, group_id=f"{runners.prefix}-router", enable_auto_commit=False
    )
    async with consumer:
        consumer.assign(places)
        yield consumer, places
