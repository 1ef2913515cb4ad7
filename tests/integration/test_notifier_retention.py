"""What the notifier lets go of, on a real broker and database, and that it does not send it again."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from orjson import dumps

from sagahook.runtime.batches import Batch, OffsetsMoved
from sagahook_notifier.adapters.intake_store import IntakeStore
from sagahook_notifier.adapters.retention_store import RetentionStore
from sagahook_notifier.adapters.schema import MIGRATIONS
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.deliveries import Places
from sagahook_notifier.domain.plan import NewDelivery, Plan
from sagahook_notifier.domain.retention import Kept
from sagahook_notifier.domain.sagas import SagaView
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.retention import AT_ONCE, Retention
from sagahook_schemas.identity import partition_of
from tests.dispatch_harness import NOON, World, world
from tests.notifier_harness import (
    COMPLETED,
    PARTITIONS,
    SECRET,
    SECRET_KEY,
    Deployment,
    Receiver,
    done,
    started,
)

LONG_AGO = timedelta(days=40)
KEPT = Kept(finished=timedelta(days=30), dead=timedelta(days=90))
FIRST = TopicPartition("saga.events", 0)
NO_PLACES = Places(uuid4(), NOON, {})


class Behind:
    """A clock that goes, so much behind the others."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return datetime.now(UTC) - self._by


@pytest_asyncio.fixture
async def here(database_url: str) -> AsyncIterator[World]:
    async with world(database_url, dispatchers=0) as made:
        yield made


def in_each_partition(name: str) -> list[str]:
    """Sagas."""
    by_partition = {partition_of(saga, PARTITIONS): saga for saga in (f"{name}-{n}" for n in range(20))}
    return [by_partition[partition] for partition in range(PARTITIONS)]


async def test_what_is_old_is_let_go_and_a_replay_of_the_whole_log_sends_nothing_twice(
    deployment: Deployment, receiver: Receiver
) -> None:
    hook = {"id": "hook", "url": receiver.url + "/hook", "secret": SECRET}
    then = datetime.now(UTC) - LONG_AGO
    ended = in_each_partition("ended")
    async with deployment.running(hook, clock=Behind(LONG_AGO)):
        for saga in ended:
            await deployment.log.write(saga, started(saga, receiver.url + "/caller"), COMPLETED, at=then)
        await deployment.log.write("long", started("long", receiver.url + "/patient"), done(7), at=then)
        await deployment.wait_until_finished(3 * len(ended) + 1)
    before = len(receiver.arrivals)

    async with deployment.running(hook, cleanup_every=0.1):
        for saga in in_each_partition("new"):
            await deployment.log.write(saga, started(saga))
        await receiver.wait_for(before - len(ended) + PARTITIONS)
        await deployment.wait_until(
            "SELECT array_agg(saga_id ORDER BY saga_id) = $1 FROM notifier.sagas",
            sorted(["long", *in_each_partition("new")]),
        )
        await deployment.wait_until(
            "SELECT array_agg(url) = $1 FROM notifier.endpoints WHERE origin = 'notify_url'",
            [receiver.url + "/patient"],
        )
    assert [row["saga_id"] for row in await deployment.deliveries()] == in_each_partition("new")
    assert await deployment.pool.fetchval("SELECT count(*) FROM notifier.attempts") == PARTITIONS

    for further, forgotten in enumerate(("notifier.offsets", "notifier.offsets, notifier.sagas")):
        await deployment.pool.execute(f"TRUNCATE {forgotten}")
        async with deployment.running(hook, cleanup_every=0.1):
            for saga in in_each_partition(f"further-{further}"):
                await deployment.log.write(saga, started(saga))
            await deployment.caught_up()
            await deployment.wait_until_finished((2 + further) * PARTITIONS)
    # One that began before all that was let go, and ends now, is told with what was remembered of it.
    async with deployment.running(hook):
        await deployment.log.write("long", COMPLETED)
        (patient,) = await receiver.wait_for(1, "/patient")
        await deployment.wait_until_finished(4 * PARTITIONS - PARTITIONS + 2)

    assert patient.payload["data"]["result"] == {"reserve": 7}
    times_sent = Counter(arrival.delivery_id for arrival in receiver.arrivals)
    assert set(times_sent.values()) == {1}
    assert len(times_sent) == before + 3 * PARTITIONS + 2


async def aged(here: World, endpoint: str, status: str, days: float, count: int = 1) -> list[str]:
    """Deliveries that came to their end so long ago; pending ones were made then."""
    ids = await here.add(endpoint, count)
    at = here.clock.now() - timedelta(days=days)
    await here.pool.execute(
        "UPDATE notifier.deliveries SET status = $2, created_at = $3,"
        " finished_at = CASE WHEN $2 <> 'pending' THEN $3::timestamptz END WHERE id = ANY ($1)",
        ids,
        status,
        at,
    )
    return ids


async def read_until(here: World, *moments: datetime) -> None:
    for partition, moment in enumerate(moments):
        await here.pool.execute(
            "INSERT INTO notifier.offsets (topic, partition, next_offset, read_until) VALUES ($1, $2, 7, $3)",
            FIRST.topic,
            partition,
            moment,
        )


async def cleaned(here: World) -> dict[str, int]:
    store, database = RetentionStore(here.pool), Dependency("PostgreSQL")
    return dict(await Retention(store, database, KEPT, here.clock).clean())


async def left(here: World) -> set[str]:
    return {row["id"] for row in await here.pool.fetch("SELECT id FROM notifier.deliveries")}


async def test_each_delivery_is_kept_for_the_age_of_its_kind_and_what_waits_for_ever(here: World) -> None:
    await here.endpoints("one", "two")
    await read_until(here, NOON)
    stay = [
        *await aged(here, "one", "succeeded", 29),
        *await aged(here, "one", "exhausted", 89),
        *await aged(here, "two", "pending", 400),
    ]
    go = [
        *await aged(here, "one", "succeeded", 31),
        *await aged(here, "two", "cancelled", 31),
        *await aged(here, "two", "exhausted", 91),
    ]
    await here.pool.execute(
        "INSERT INTO notifier.attempts (delivery_id, attempt, started_at, duration_ms, request_headers)"
        " SELECT id, 1, now(), 1, '{}' FROM notifier.deliveries"
    )

    assert await cleaned(here) == {"deliveries": 2, "dead_letters": 1}
    assert await left(here) == set(stay)
    assert not await left(here) & set(go)
    tried = await here.pool.fetch("SELECT delivery_id FROM notifier.attempts")
    assert {row["delivery_id"] for row in tried} == set(stay)


async def test_what_was_sent_again_lately_is_kept_though_it_was_made_long_ago(here: World) -> None:
    await here.endpoints("hook")
    await read_until(here, NOON)
    (again,) = await aged(here, "hook", "succeeded", 50)
    await here.pool.execute("UPDATE notifier.deliveries SET finished_at = $1", NOON)

    assert await cleaned(here) == {}
    assert await left(here) == {again}


async def test_more_than_one_portion_goes_at_one_time(here: World) -> None:
    await here.endpoints("hook")
    await read_until(here, NOON)
    await aged(here, "hook", "succeeded", 31, count=2 * AT_ONCE + 1)

    assert await cleaned(here) == {"deliveries": 2 * AT_ONCE + 1}


@pytest.mark.parametrize("others", [None, NOON - timedelta(days=100)], ids=["never", "long-ago"])
async def test_nothing_goes_before_every_partition_was_read_up_to_there(here: World, others: Any) -> None:
    await here.endpoints("hook")
    await read_until(here, NOON, others)
    kept = await aged(here, "hook", "succeeded", 31)

    assert await cleaned(here) == {}
    assert await left(here) == set(kept)


async def test_a_plan_from_before_the_fence_was_raised_is_not_kept(here: World) -> None:
    await here.endpoints("hook")
    intake = IntakeStore(here.pool, Targets(Vault([SECRET_KEY])))
    assert await intake.load_offsets([FIRST]) == {}
    await read_until(here, NOON)
    await cleaned(here)
    made = Plan(deliveries=[NewDelivery("d", "hook", "e", "task_started", "s", 1, "c", b"{}", "text/plain")])

    with pytest.raises(OffsetsMoved):
        await intake.keep(made, {FIRST: Batch(7, 8, ())}, NOON, NO_PLACES)
    assert await left(here) == set()
    assert await intake.load_offsets([FIRST]) == {FIRST: 7}  # and with it the fence
    await intake.keep(made, {FIRST: Batch(7, 8, ())}, NOON, NO_PLACES)
    assert await left(here) == {"d"}


async def test_sagas_that_an_earlier_version_remembered_are_known_to_be_over_where_they_are(
    here: World,
) -> None:
    [statement] = [each for each in migration("0005_retention").STATEMENTS if "UPDATE" in each]
    misleading = 'order","state":"FAILED'
    running = SagaView("running", 1, 2, misleading, results={"check": {"state": "COMPLETED"}})
    for view in (running, SagaView("over", 1, 2, misleading, state="COMPLETED")):
        await here.pool.execute(
            "INSERT INTO notifier.sagas (saga_id, view) VALUES ($1, $2)", view.saga_id, dumps(view).decode()
        )
    await here.pool.execute(statement)

    ended = await here.pool.fetch("SELECT saga_id FROM notifier.sagas WHERE ended_at IS NOT NULL")
    assert [row["saga_id"] for row in ended] == ["over"]


def migration(name: str) -> ModuleType:
    spec = spec_from_file_location(name, MIGRATIONS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
