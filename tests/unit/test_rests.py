"""Who works in batches rests in terms of what they took, unless they were quick or there is a backlog."""

from __future__ import annotations

import asyncio
from time import monotonic

from sagahook.runtime.rests import Rests


async def test_a_batch_is_followed_by_a_rest_and_then_by_none() -> None:
    rests = Rests(1.0)
    rests.begin(monotonic() - 0.5, is_behind=False)

    assert await rests.over()
    assert not await rests.over()


async def test_a_batch_that_took_no_longer_than_a_quick_one_is_followed_by_none() -> None:
    rests = Rests(1.0, quick=1.0)
    rests.begin(monotonic() - 0.5, is_behind=False)

    assert not await rests.over()


async def test_it_rests_for_what_a_batch_took_beyond_a_quick_one() -> None:
    rests = Rests(1.0, longest=10.0, quick=1.0)
    began = monotonic()
    rests.begin(began - 1.2, is_behind=False)
    await rests.over()

    assert 0.2 <= monotonic() - began < 1.0


async def test_no_rest_is_longer_than_the_longest() -> None:
    rests = Rests(1.0, longest=0.1)
    began = monotonic()
    rests.begin(began - 60.0, is_behind=False)
    await rests.over()

    assert monotonic() - began < 30.0


async def test_a_backlog_is_worked_off_without_rest() -> None:
    rests = Rests(1.0)
    rests.begin(monotonic() - 0.5, is_behind=True)

    assert not await rests.over()


async def test_where_nobody_waits_it_rests_although_the_batch_was_quick() -> None:
    rests = Rests(1.0, quick=1.0, leisure=lambda: 0.1)
    rests.begin(monotonic(), is_behind=False)

    assert await rests.over()


async def test_what_makes_a_rest_longer_is_told_how_long_it_is_and_makes_none_shorter() -> None:
    told: list[float] = []

    async def longer(rest: float) -> None:
        told.append(rest)

    rests = Rests(1.0, longest=0.2, longer=longer)
    began = monotonic()
    rests.begin(began - 0.5, is_behind=False)

    assert await rests.over()
    assert monotonic() - began >= 0.2
    assert 0.0 < told.pop() <= 0.2

    assert not await rests.over()
    rests.begin(began - 0.5, is_behind=True)
    assert not await rests.over()
    assert told == []


async def test_a_rest_may_be_made_longer() -> None:
    done = asyncio.Event()

    async def longer(_: float) -> None:
        await done.wait()

    rests = Rests(1.0, longest=0.01, longer=longer)
    rests.begin(monotonic() - 0.5, is_behind=False)
    resting = asyncio.create_task(rests.over())
    await asyncio.sleep(0.1)
    assert not resting.done()

    done.set()
    assert await resting
