"""A poll waits for records, or until it is interrupted, and takes what came during a rest too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from sagahook.runtime import polls as module
from sagahook.runtime.polls import Polled, Polls
from sagahook.runtime.rests import Rests

PLACE, OTHER = TopicPartition("orders", 0), TopicPartition("parcels", 0)


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours may be one, and everything here is held already."""
    monkeypatch.setattr(module, "_AT_ONCE", 60.0)


class Holding:
    """As a consumer that holds one answer after the other, and then waits for ever."""

    def __init__(self, *held: list[str] | Exception) -> None:
        self._held = list(held)
        self.polled: list[tuple[TopicPartition, ...]] = []

    def assignment(self) -> set[TopicPartition]:
        return {PLACE, OTHER}

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        self.polled.append(places)
        if not self._held:
            await asyncio.Event().wait()
        match self._held.pop(0):
            case Exception() as raised:
                raise raised
            case records:
                return {PLACE: records[:max_records]} if records else {}


async def never(_: Any, lost: Mapping[TopicPartition, int]) -> None:
    raise AssertionError(lost)


async def test_a_poll_that_waits_ends_without_records_when_it_is_interrupted() -> None:
    polls = Polls(Rests(1.0), 10)
    polling = asyncio.create_task(polls.rest_and_poll(Holding(), never))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not polling.done()

    polls.interrupt()

    async with asyncio.timeout(1.0):  # by itself it would wait for two seconds
        assert await polling == {}


async def test_one_that_is_interrupted_before_it_begins_takes_nothing_and_the_next_one_does() -> None:
    polls, consumer = Polls(Rests(1.0), 10), Holding(["a"])
    polls.interrupt()

    assert await polls.rest_and_poll(consumer, never) == {}
    assert await polls.rest_and_poll(consumer, never) == {PLACE: ["a"]}


async def test_one_that_is_interrupted_waits_for_nothing_else() -> None:
    polls, consumer = Polls(Rests(1.0), 10, {"parcels"}), Holding()
    polling = asyncio.create_task(polls.rest_and_poll(consumer, never))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    polls.interrupt()

    assert await polling == {}
    assert consumer.polled == [(OTHER,)]


@pytest.mark.parametrize(
    ("after_a_rest", "found"), [(True, {PLACE: ["old", "new"]}), (False, {PLACE: ["old"]})]
)
async def test_after_a_rest_what_came_during_it_is_taken_too(after_a_rest: bool, found: Polled) -> None:
    rests = Rests(1.0)
    if after_a_rest:
        rests.begin(monotonic() - 1.0, is_behind=False)

    assert await Polls(rests, 10).rest_and_poll(Holding(["old"], ["new"]), never) == found


async def test_no_more_is_taken_than_fits() -> None:
    rests = Rests(1.0)
    rests.begin(monotonic() - 1.0, is_behind=False)
    consumer = Holding(["a", "b"], ["c"])

    assert await Polls(rests, 2).rest_and_poll(consumer, never) == {PLACE: ["a", "b"]}
    assert len(consumer.polled) == 1


async def test_what_kafka_holds_no_more_is_told_and_what_was_polled_before_is_kept() -> None:
    told: list[Mapping[TopicPartition, int]] = []

    async def tell(_: Any, lost: Mapping[TopicPartition, int]) -> None:
        told.append(lost)

    rests = Rests(1.0)
    rests.begin(monotonic() - 1.0, is_behind=False)

    polled = await Polls(rests, 10).rest_and_poll(Holding(["a"], OffsetOutOfRangeError({PLACE: 7})), tell)

    assert polled == {PLACE: ["a"]}
    assert told == [{PLACE: 7}]


async def test_what_somebody_waits_for_is_taken_before_all_else() -> None:
    consumer = Holding(["awaited"], ["another"])

    polled = await Polls(Rests(1.0), 10, {"parcels"}).rest_and_poll(consumer, never)

    assert polled == {PLACE: ["awaited", "another"]}
    assert consumer.polled == [(OTHER,), ()]


@pytest.mark.parametrize(
    ("count", "seconds", "most"),
    [(1_000, 0.1, 2_000), (1_000, 1.0, 500), (2_000, 60.0, 200), (100, 60.0, 2_000)],
    ids=["quick", "slow", "never fewer", "too few to tell"],
)
def test_where_a_batch_took_long_the_next_one_is_one_of_half_a_second(
    count: int, seconds: float, most: int
) -> None:
    polls = Polls(Rests(1.0), 2_000)

    polls.handled(count, seconds)

    assert polls.most == most


def test_what_was_quick_again_is_not_bounded_any_more() -> None:
    polls = Polls(Rests(1.0), 2_000)
    polls.handled(1_000, 2.0)
    polls.handled(250, 0.01)

    assert polls.most == 2_000
