"""What intake reads and keeps, on a real database."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from sagahook.runtime.batches import Batch, OffsetsMoved
from sagahook.runtime.dead_letters import KafkaDeadLetters
from sagahook.runtime.sources import Source, Sources
from sagahook_notifier.adapters.intake_store import IntakeStore
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.deliveries import Places
from sagahook_notifier.domain.payloads import Limits
from sagahook_notifier.domain.plan import Plan
from sagahook_notifier.handlers.intake import Intake
from tests.dispatch_harness import NOON, World, world
from tests.notifier_harness import SECRET_KEY

FIRST = TopicPartition("saga.events", 0)
NO_PLACES = Places(uuid4(), NOON, {})


@pytest_asyncio.fixture
async def here(database_url: str) -> AsyncIterator[World]:
    async with world(database_url, dispatchers=0) as made:
        yield made


async def test_of_several_partitions_that_do_not_all_stand_where_they_should_none_moves(here: World) -> None:
    intake = IntakeStore(here.pool, Targets(Vault([SECRET_KEY])))
    second = TopicPartition(FIRST.topic, 1)
    await intake.load_offsets([FIRST, second])
    await intake.keep(Plan(), {FIRST: Batch(0, 5, ())}, NOON, NO_PLACES)

    with pytest.raises(OffsetsMoved):
        await intake.keep(Plan(), {FIRST: Batch(4, 9, ()), second: Batch(0, 3, ())}, NOON, NO_PLACES)
    assert await intake.load_offsets([FIRST, second]) == {FIRST: 5}


@pytest.mark.parametrize(
    ("change", "heard"),
    [
        (
            "UPDATE notifier.endpoints SET sources = '{shop}' WHERE id = 'one'",
            {"one": ("shop",), "two": None},
        ),
        ("UPDATE notifier.endpoints SET enabled = FALSE WHERE id = 'one'", {"two": None}),
        ("UPDATE notifier.endpoints SET enabled = FALSE", {}),
    ],
    ids=["changed", "switched-off", "none-left"],
)
async def test_endpoints_are_read_again_only_where_one_of_them_changed(
    here: World, change: str, heard: dict[str, tuple[str, ...] | None]
) -> None:
    await here.endpoints("one", "two")
    intake = IntakeStore(here.pool, Targets(Vault([SECRET_KEY])))
    before = await intake.subscribers()
    assert {each.endpoint_id: each.sources for each in before} == {"one": None, "two": None}
    assert await intake.subscribers() is before

    await here.pool.execute(change)
    after = await intake.subscribers()
    assert {each.endpoint_id: each.sources for each in after} == heard
    assert await intake.subscribers() is after


@pytest.mark.parametrize(
    ("sources", "paths", "heard"),
    [
        ({"shop": Source()}, (), False),
        ({"shop": Source()}, ("hook",), True),
        ({"shop": Source(allow_notify_url=True)}, (), True),
    ],
    ids=["nobody-listens", "an-endpoint-listens", "a-webhook-may-name-its-own"],
)
async def test_intake_knows_whether_anybody_can_hear_of_what_it_reads(
    database_url: str, sources: Sources, paths: tuple[str, ...], heard: bool
) -> None:
    async with world(database_url) as one:
        await one.endpoints(*paths)
        intake = Intake(
            store=IntakeStore(one.pool, Targets(Vault([SECRET_KEY]))),
            sources=sources,
            dead_letters=KafkaDeadLetters("localhost:1", "test", "notifier"),  # it has nothing to say
            clock=one.clock,
            limits=Limits(16_384),
            dispatcher=one.dispatchers[0],
        )
        await intake.handle({FIRST: Batch(0, 5, ())})
        assert intake.is_heard is heard
