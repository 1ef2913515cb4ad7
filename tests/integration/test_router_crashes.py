"""A router writes the starts of its webhooks before it says that they were routed: what a crash in between leaves."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.errors import RequestTimedOutError
from orjson import loads

from sagahook.runtime.clock import SystemClock
from sagahook.runtime.partition_workers import Start
from sagahook.runtime.transactions import CommitUnknown
from sagahook.saga import load_app
from sagahook_runner.adapters.triggers import Triggers
from sagahook_runner.handlers.handing import Handing
from sagahook_runner.handlers.router import PartitionRouter
from sagahook_runner.settings import RunnerSettings
from sagahook_runner.wiring import RoutersHost
from sagahook_schemas.topics import SAGA_COMMANDS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, Topic
from tests.kafka_transactions import committed
from tests.owners import Untold, taken_over
from tests.runner_harness import RunnerHarness, open_runners
from tests.runner_log import all_routed


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[RunnerHarness]:
    async with open_runners(kafka_bootstrap, topic_prefix, tmp_path, partitions=1) as opened:
        yield opened


async def test_of_webhooks_whose_router_died_between_their_starts_and_its_word_each_counts_once(
    runners: RunnerHarness,
) -> None:
    starting, joining = await runners.publish([{"id": 1}, {"id": 1}])
    await route_and_die(runners)
    assert len(await written(runners, SAGA_COMMANDS)) == 2
    assert await written(runners, WEBHOOKS_ROUTED) == []

    await runners.start_runner()
    (last,) = await runners.publish([{"id": 2}])
    events = await runners.read_until_final(2)

    # The first two were asked for twice; the second time, and the last one, by the log or past it.
    assert Counter(await all_routed(runners, 3)) == Counter([starting, joining, last])
    assert [each["sagas"][0]["name"] for each in await written(runners, WEBHOOKS_ROUTED)] == ["effects"] * 3
    starts = [event.data["event_id"] for event in events if event.kind == "saga.started"]
    assert starts == [starting, last]
    joins = Counter(
        (event.envelope.id, event.data["event_id"]) for event in events if event.kind == "saga.joined"
    )
    assert [(event_id, times) for (_, event_id), times in joins.items()] == [(joining, 2)], "under one id"
    assert sorted(Counter(runners.effects()).values()) == [1] * len(set(runners.effects()))


async def route_and_die(runners: RunnerHarness) -> None:
    """The process of a router ends as soon as it has sent the starts."""
    router = await a_router(runners)
    async with runners.reader(WEBHOOKS_RECEIVED) as consumer:
        records = [
            record for found in (await consumer.getmany(timeout_ms=5_000)).values() for record in found
        ]
    write = router._writer._appends.write

    async def write_the_first(batches: Any) -> Any:
        await write(batches)
        raise RequestTimedOutError()

    router._writer._appends.write = write_the_first  # type: ignore[method-assign]  # it dies
    router.deliver(records)
    with pytest.raises(CommitUnknown):
        await router.run()
    await router.close()


async def a_router(runners: RunnerHarness) -> PartitionRouter:
    settings = RunnerSettings(kafka=runners.bootstrap, topic_prefix=runners.prefix, app=runners.app)
    triggers = Triggers(load_app(runners.app), timeout=5)
    host = RoutersHost(settings, triggers, SystemClock(), runners.partitions, Handing(), None)
    return await taken_over(lambda: host.worker(0, Untold(Start(0, was_committed=False))))


async def written(runners: RunnerHarness, topic: Topic) -> list[dict[str, Any]]:
    return [loads(value) for value in await committed(runners.bootstrap, topic.name(runners.prefix))]
