"""A saga whose owner is in the router's own process begins without a record in `saga.commands`."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from orjson import loads

from sagahook.runtime.topics import ensure_topics
from sagahook.runtime.transactions import OutRecord, OwnershipLost
from sagahook.saga import Saga, SagaApp, StepContext, step, trigger
from sagahook_runner.adapters.records import RouteRecords, Stamp
from sagahook_runner.handlers.owner import PartitionOwner
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS
from tests.kafka_transactions import committed
from tests.owners import Owners
from tests.runner_harness import PARTITIONS, RunnerHarness
from tests.runner_log import all_routed

SAGA = "0f8b1a52-0000-5000-8000-000000000001"


class Greet(Saga):
    @trigger(source="greetings", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step
    async def greet(self, ctx: StepContext) -> None: ...


def start(number: int = 1) -> OutRecord:
    received = Envelope(
        id=f"webhook-{number}",
        source="/webhooks/greetings",
        type="sagahook.webhook.received.v1",
        time=datetime.now(UTC),
        correlation_id="greeting",
    )
    request = StartSaga(
        name="greet",
        version=1,
        source="greetings",
        event_id=received.id,
        correlation_id="greeting",
        context={},
    )
    return RouteRecords(Owners("", "unused").settings, 0, 1, Stamp(datetime.now(UTC))).start(
        received, SAGA, request
    )


async def saga_events(kafka: str, prefix: str) -> list[dict[str, Any]]:
    """Without those of its owners."""
    log = [loads(value) for value in await committed(kafka, SAGA_EVENTS.name(prefix))]
    return [event for event in log if "instance" not in event and "in_flight" not in event]


async def test_one_runner_starts_every_saga_once_and_writes_no_command(runners: RunnerHarness) -> None:
    await runners.start_runner()
    ids = await runners.publish([{"id": number} for number in range(40)])
    events = await runners.read_until_final(40)
    assert Counter(event.kind for event in events)["saga.started"] == 40
    assert Counter(await all_routed(runners, len(ids))) == Counter(ids)
    async with runners.reader(SAGA_COMMANDS) as consumer:
        assert not await consumer.getmany(timeout_ms=500)


async def test_of_two_runners_each_starts_the_others_by_the_log(runners: RunnerHarness) -> None:
    await asyncio.gather(*(runners.start_runner() for _ in range(PARTITIONS)))
    ids: list[str] = []
    started, commands = 0, 0
    async with asyncio.timeout(90), runners.reader(SAGA_COMMANDS) as consumer:
        while not commands:  # until each has a partition
            ids += await runners.publish([{"id": f"{len(ids)}-{number}"} for number in range(20)])
            events = await runners.read_until_final(len(ids))
            commands += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
    started = Counter(event.kind for event in events)["saga.started"]
    assert started == len(ids)
    assert commands < started, "some of them have their owner beside their router"
    assert Counter(await all_routed(runners, len(ids))) == Counter(ids)


@pytest.fixture
async def owners(kafka_bootstrap: str, topic_prefix: str) -> Owners:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    return Owners(kafka_bootstrap, topic_prefix, SagaApp([Greet()]))


async def at_work(owner: PartitionOwner) -> asyncio.Task[None]:
    async def work() -> None:
        try:
            await owner.run()
        finally:
            await owner.close()

    return asyncio.create_task(work())


async def test_a_start_counts_once_its_owner_has_written_it(
    kafka_bootstrap: str, topic_prefix: str, owners: Owners
) -> None:
    working = await at_work(await owners.take_over())
    assert await owners.handing.over([start()]) == []
    begun = await saga_events(kafka_bootstrap, topic_prefix)
    assert len(begun) >= 2, "started and scheduled"
    assert await owners.handing.over([start()]) == [], "the same once more"
    log = await saga_events(kafka_bootstrap, topic_prefix)
    assert [event["event_id"] for event in log if "event_id" in event] == ["webhook-1"], (
        "neither begun nor joined"
    )
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_start_that_its_owner_could_not_write_goes_by_the_log(owners: Owners) -> None:
    owner = await owners.take_over()
    write = owner._writer.commit

    async def fail(*arguments: Any, **options: Any) -> Any:
        await write(*arguments, **options)
        raise OwnershipLost("written or not")

    owner._writer.commit = fail  # type: ignore[method-assign]  # an answer that is lost
    working = await at_work(owner)
    once = start()
    assert await owners.handing.over([once]) == [once]
    with suppress(OwnershipLost):
        await working


async def test_a_runner_that_is_about_to_end_takes_no_start(owners: Owners) -> None:
    working = await at_work(await owners.take_over())
    await owners.executor.drain()
    once = start()
    assert await owners.handing.over([once]) == [once]
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_an_owner_whose_partition_may_move_takes_no_start_until_it_came_back(owners: Owners) -> None:
    owner = await owners.take_over()
    working = await at_work(owner)
    await owner.let_go()
    once = start()
    assert await owners.handing.over([once]) == [once]
    owner.resume()
    assert await owners.handing.over([once]) == []
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
