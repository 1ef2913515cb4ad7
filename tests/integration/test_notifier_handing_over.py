"""Deliveries that are a dispatcher's own from the moment they are made, and those that are not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batch
from sagahook_notifier.adapters.intake_store import IntakeStore
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.deliveries import Claimed, Places
from sagahook_notifier.domain.plan import NewDelivery, Plan
from tests.dispatch_harness import World, world
from tests.notifier_harness import SECRET, SECRET_KEY, deploy, open_receiver, started

PARTITION = TopicPartition("saga.events", 0)


@pytest_asyncio.fixture
async def two(database_url: str) -> AsyncIterator[World]:
    async with world(database_url, dispatchers=2) as made:
        yield made


def planned(endpoint: str, count: int) -> Plan:
    return Plan(
        deliveries=[
            NewDelivery(f"d-{n}", endpoint, f"e-{n}", "task_started", "s", 1, "c", b"{}", "text/plain")
            for n in range(count)
        ]
    )


async def kept(world: World, made: Plan, places: Places) -> list[Claimed]:
    intake = IntakeStore(world.pool, Targets(Vault([SECRET_KEY])))
    await intake.load_offsets([PARTITION])
    return await intake.keep(made, {PARTITION: Batch(0, 1, ())}, world.clock.now(), places)


async def test_what_is_made_for_a_dispatchers_places_is_sent_by_it_and_the_rest_by_whoever_looks(
    two: World,
) -> None:
    await two.endpoints("hook")
    mine, yours = two.dispatchers
    places = mine.set_aside({"hook": 20})
    assert places.by_endpoint == {"hook": 16}  # as many as may be under way at once
    claimed = await kept(two, planned("hook", 20), places)
    assert [each.delivery_id for each in claimed] == [f"d-{n}" for n in range(16)]

    yours.wake(["hook"])
    await two.recorded(4)
    await two.settled()
    assert set(two.sent("hook")) == {f"d-{n}" for n in range(16, 20)}
    mine.hand_over(places, claimed, Counter({"hook": 20}))
    await two.recorded(20)

    assert set(Counter(two.sent("hook")).values()) == {1}
    assert await two.pool.fetchval("SELECT every(status = 'succeeded') FROM notifier.deliveries")


async def test_what_a_dispatcher_that_died_was_about_to_get_is_sent_when_its_lease_is_over(
    two: World,
) -> None:
    await two.endpoints("hook")
    places = two.dispatchers[0].set_aside({"hook": 1})
    assert len(await kept(two, planned("hook", 1), places)) == 1
    two.dispatchers[0].hand_over(places, [], Counter())  # it never hears of it
    two.wake("hook")
    await two.settled()
    assert two.sent("hook") == []

    two.advance(46)
    two.wake("hook")
    await two.recorded(1)
    assert two.sent("hook") == ["d-0"]


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"ordered": True}, None),
        ({"rate_limit": "100/s"}, None),
        ({}, "UPDATE notifier.endpoints SET enabled = FALSE"),
        ({}, "INSERT INTO notifier.endpoint_health (endpoint_id, open_until) VALUES ('hook', now())"),
    ],
    ids=["ordered", "limited", "switched-off", "left-alone"],
)
async def test_where_a_claim_has_more_to_decide_nothing_is_handed_over(
    two: World, options: dict[str, Any], change: str | None
) -> None:
    await two.endpoints("hook", **options)
    if change is not None:
        await two.pool.execute(change)
    places = two.dispatchers[0].set_aside({"hook": 3})

    assert await kept(two, planned("hook", 3), places) == []
    assert await two.pool.fetchval("SELECT every(leased_until IS NULL) FROM notifier.deliveries")
    two.dispatchers[0].hand_over(places, [], Counter())


async def test_places_that_nothing_came_to_are_free_again(two: World) -> None:
    await two.endpoints("hook")
    mine = two.dispatchers[0]
    for _ in range(20):
        places = mine.set_aside({"hook": 16})
        assert places.by_endpoint == {"hook": 16}
        mine.hand_over(places, [], Counter())


async def test_an_event_that_was_read_before_is_not_handed_over_again(two: World) -> None:
    await two.endpoints("hook")
    mine = two.dispatchers[0]
    made = planned("hook", 1)
    places = mine.set_aside({"hook": 1})
    mine.hand_over(places, await kept(two, made, places), Counter({"hook": 1}))
    await two.recorded(1)
    await two.pool.execute("DELETE FROM notifier.offsets")

    places = mine.set_aside({"hook": 1})
    assert await kept(two, made, places) == []
    mine.hand_over(places, [], Counter({"hook": 1}))


async def test_a_stop_waits_for_what_is_just_being_kept_and_leaves_no_lease_behind(
    kafka_bootstrap: str, topic_prefix: str, database_url: str
) -> None:
    async with (
        open_receiver() as receiver,
        deploy(kafka_bootstrap, topic_prefix, database_url) as deployment,
        deployment.pool.acquire() as other,
    ):
        hook = {"id": "hook", "url": receiver.url + "/hook", "secret": SECRET}
        async with deployment.running(hook):
            await deployment.log.write("s-1", started("s-1"))
            await receiver.wait_for(1)
            held = other.transaction()
            await held.start()
            await other.execute("SELECT FROM notifier.fence FOR UPDATE")
            await deployment.log.write("s-2", started("s-2"))
            await deployment.wait_until("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")
            asyncio.get_running_loop().call_later(0.1, asyncio.ensure_future, held.rollback())

        assert await deployment.pool.fetchval(
            "SELECT every(status = 'succeeded' OR leased_until IS NULL) FROM notifier.deliveries"
        )
