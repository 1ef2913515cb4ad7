"""Who works in batches rests as long as they took, unless it has credit or a backlog."""

from __future__ import annotations

from time import monotonic

from sagahook.runtime.rests import Rests


async def test_a_batch_is_followed_by_a_rest_and_then_by_none() -> None:
    rests = Rests(1.0)
    rests.begin(monotonic() - 0.5, is_behind=False)

    assert await rests.over()
    assert not await rests.over()


async def test_what_was_idle_does_not_rest_until_its_credit_is_spent() -> None:
    rests = Rests(1.0, credit=10.0)
    rests.begin(monotonic() - 1.0, is_behind=False)
    assert not await rests.over()

    for _ in range(10):
        rests.begin(monotonic() - 1.0, is_behind=False)

    assert await rests.over()


async def test_a_backlog_is_worked_off_without_rest() -> None:
    rests = Rests(1.0)
    rests.begin(monotonic() - 0.5, is_behind=True)

    assert not await rests.over()


async def test_where_nobody_waits_it_rests_although_it_has_credit() -> None:
    rests = Rests(1.0, credit=10.0, leisure=lambda: 0.1)
    rests.begin(monotonic(), is_behind=False)

    assert await rests.over()
