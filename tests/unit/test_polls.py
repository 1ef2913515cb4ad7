"""A poll waits for records, or until it is interrupted, and between two of them nothing is fetched for nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from sagahook.runtime.polls import Polls
from sagahook.runtime.rests import Rests

PLACE, OTHER = TopicPartition("orders", 0), TopicPartition("parcels", 0)


class Holding:
    """As a consumer that holds one answer after the other, and then waits for ever."""

    def __init__(self, *held: list[str] | Exception) -> None:
        self._held = list(held)
        self.polled: list[tuple[TopicPartition, ...]] = []
        self.assigned = {PLACE, OTHER}
        self.stopped: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return set(self.assigned)

    def paused(self) -> set[TopicPartition]:
        return set(self.stopped)

    def pause(self, *places: TopicPartition) -> None:
        self.stopped |= set(places)

    def resume(self, *places: TopicPartition) -> None:
        assert self.assigned.issuperset(places)
        self.stopped -= set(places)

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        self.polled.append(places)
        assert not self.stopped
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


async def test_nothing_is_fetched_until_the_next_poll() -> None:
    polls, consumer = Polls(Rests(1.0), 10, {"parcels"}), Holding(["a"], [], [])

    await polls.rest_and_poll(consumer, never)
    assert consumer.stopped == {PLACE, OTHER}

    assert await polls.rest_and_poll(consumer, never) == {}
    assert consumer.stopped == set(), "where nothing came, something may be on its way"
    assert consumer.polled == [(OTHER,), (), ()], (
        "after a pause nothing is held of which to take a part first"
    )


async def test_behind_a_backlog_the_next_records_are_fetched_meanwhile() -> None:
    consumer = Holding(["a", "b"])

    await Polls(Rests(1.0), 2).rest_and_poll(consumer, never)

    assert consumer.stopped == set()


async def test_where_partitions_are_assigned_anew_whoever_assigned_them_says_when_they_are_read() -> None:
    polls, consumer = Polls(Rests(1.0), 10), Holding(["a"])
    await polls.rest_and_poll(consumer, never)

    polls.reassigned()
    consumer.assigned = {PLACE}
    with pytest.raises(AssertionError):  # what is paused is not polled here
        await polls.rest_and_poll(consumer, never)

    assert consumer.stopped == {PLACE, OTHER}


async def test_no_more_is_taken_than_fits() -> None:
    consumer = Holding(["a", "b"], ["c"])

    assert await Polls(Rests(1.0), 2).rest_and_poll(consumer, never) == {PLACE: ["a", "b"]}
    assert len(consumer.polled) == 1


async def test_what_kafka_holds_no_more_is_told_and_what_was_polled_before_is_kept() -> None:
    told: list[Mapping[TopicPartition, int]] = []

    async def tell(_: Any, lost: Mapping[TopicPartition, int]) -> None:
        told.append(lost)

    consumer = Holding(["a"], OffsetOutOfRangeError({PLACE: 7}))
    polled = await Polls(Rests(1.0), 10, {"parcels"}).rest_and_poll(consumer, tell)

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


async def test_the_shortcut_is_taken_after_a_rest_and_aiokafka_is_asked_where_there_is_none_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sagahook.runtime.polls._LONGEST_DETOUR", 0.3)
    ways: list[dict[TopicPartition, list[Any]] | None] = [{PLACE: ["b"]}, None, {PLACE: ["d"]}]

    async def shortcut(_: Any) -> dict[TopicPartition, list[Any]] | None:
        return ways.pop(0)

    rests = Rests(0.0, leisure=lambda: 0.01)
    polls, consumer = Polls(rests, 10, shortcut=shortcut), Holding(["a"], ["c"], ["e"])

    async def polled() -> dict[TopicPartition, list[Any]]:
        found = await polls.rest_and_poll(consumer, never)
        rests.begin(time.monotonic(), is_behind=False)
        return found

    assert [await polled() for _ in range(4)] == [{PLACE: [each]} for each in "abcd"]
    await asyncio.sleep(0.3)
    rests.begin(time.monotonic(), is_behind=False)
    assert await polled() == {PLACE: ["e"]}


async def test_a_shortcut_that_waits_is_left_when_it_is_interrupted() -> None:
    async def shortcut(_: Any) -> None:
        await asyncio.Event().wait()

    rests = Rests(0.0, leisure=lambda: 0.01)
    polls, consumer = Polls(rests, 10, shortcut=shortcut), Holding(["a"], ["b"])
    await polls.rest_and_poll(consumer, never)
    rests.begin(time.monotonic(), is_behind=False)
    polling = asyncio.create_task(polls.rest_and_poll(consumer, never))
    await asyncio.sleep(0.05)
    assert not polling.done()

    polls.interrupt()

    assert await polling == {}
    assert await polls.rest_and_poll(consumer, never) == {PLACE: ["b"]}
