"""Starts that a router hands to an owner of its own process: written by it, or left to go by the log."""

import asyncio
from datetime import UTC, datetime

from sagahook.runtime.transactions import OutRecord
from sagahook_runner.handlers.handing import Handed, Handing
from sagahook_schemas.codec import Undecodable

FIRST, SECOND, ELSEWHERE = (
    OutRecord("saga.commands", partition, name.encode(), b"{}", [], int(datetime.now(UTC).timestamp()))
    for name, partition in (("first", 0), ("second", 0), ("elsewhere", 1))
)


def owner(handing: Handing, *, is_open: bool = True) -> Handed:
    handed = Handed(lambda: None, lambda: is_open)
    handing.begin(0, handed)
    return handed


async def test_what_its_owner_wrote_does_not_go_by_the_log() -> None:
    handing = Handing()
    handed = owner(handing)
    over = asyncio.create_task(handing.over([FIRST, ELSEWHERE, SECOND]))
    await asyncio.sleep(0)
    taken: list[OutRecord] = []
    handed.take(taken.append)
    handed.take(taken.append)
    assert taken == [FIRST, SECOND]
    await asyncio.sleep(0)
    assert not over.done(), "it is taken, and not written"
    handed.written()
    assert await over == [ELSEWHERE]


async def test_what_takes_an_owner_several_writes_is_written_with_the_last_of_them() -> None:
    handing = Handing()
    handed = owner(handing)
    over = asyncio.create_task(handing.over([FIRST, SECOND]))
    await asyncio.sleep(0)
    handed.take(lambda start: None)
    handed.written()
    await asyncio.sleep(0)
    assert not over.done()
    handed.take(lambda start: None)
    handed.written()
    assert await over == []


async def test_all_goes_by_the_log_where_the_owner_takes_no_more() -> None:
    handing = Handing()
    owner(handing, is_open=False)
    assert await handing.over([FIRST]) == [FIRST]


async def test_what_an_owner_has_when_it_ends_goes_by_the_log_whether_it_was_taken_or_not() -> None:
    handing = Handing()
    handed = owner(handing)
    over = asyncio.create_task(handing.over([FIRST, SECOND]))
    await asyncio.sleep(0)
    handed.take(lambda start: None)
    handing.end(0, handed)
    assert await over == [FIRST, SECOND]
    assert await handing.over([FIRST]) == [FIRST]


async def test_an_owner_that_ends_late_leaves_the_next_one_in_its_place() -> None:
    handing = Handing()
    earlier, later = owner(handing), owner(handing)
    handing.end(0, earlier)
    over = asyncio.create_task(handing.over([FIRST]))
    await asyncio.sleep(0)
    taken: list[OutRecord] = []
    later.take(taken.append)
    assert taken == [FIRST]
    later.written()
    assert await over == []


async def test_a_router_that_went_away_meanwhile_is_nobody_to_be_told() -> None:
    handing = Handing()
    handed = owner(handing)
    over = asyncio.create_task(handing.over([FIRST]))
    await asyncio.sleep(0)
    over.cancel()
    await asyncio.gather(over, return_exceptions=True)
    handed.take(lambda start: None)
    handed.written()


async def test_what_cannot_be_read_goes_by_the_log() -> None:
    def refuse(_: OutRecord) -> None:
        raise Undecodable("no command")

    handing = Handing()
    handed = owner(handing)
    over = asyncio.create_task(handing.over([FIRST]))
    await asyncio.sleep(0)
    handed.take(refuse)
    assert await over == [FIRST]


async def test_an_owner_whose_place_another_one_takes_is_waited_for_no_more() -> None:
    handing = Handing()
    owner(handing)
    over = asyncio.create_task(handing.over([FIRST]))
    await asyncio.sleep(0)
    owner(handing)
    assert await over == [FIRST]


async def test_of_what_has_to_be_let_go_what_is_being_written_may_still_be() -> None:
    handing = Handing()
    handed = owner(handing)
    being_written = asyncio.create_task(handing.over([FIRST]))
    await asyncio.sleep(0)
    handed.take(lambda start: None)
    waiting = asyncio.create_task(handing.over([SECOND]))
    await asyncio.sleep(0)
    handed.refuse_waiting()
    assert await waiting == [SECOND]
    handed.written()
    assert await being_written == []
