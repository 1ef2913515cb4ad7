"""What a group is told of, and what has to be told once more. (On a real broker: test_runner_marks.)"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from sagahook.runtime.partition_workers import Start
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner.adapters import marks
from sagahook_runner.adapters.marks import Mark

SOURCE, LOG = TopicPartition("commands", 0), TopicPartition("events", 0)
EVENT = OutRecord(LOG.topic, 0, b"saga", b"{}", [], 0)


class Writer:
    """Writes at once; what it was given of the group's offsets."""

    def __init__(self) -> None:
        self.told: list[int] = []

    async def commit(
        self,
        records: Sequence[OutRecord],
        offsets: Mapping[TopicPartition, Any],
        group: str,
        *,
        ahead: Sequence[OutRecord] = (),
    ) -> dict[TopicPartition, int]:
        self.told += [offset.offset for offset in offsets.values()]
        return {LOG: 100}


class Group:
    """Hears what it is told once it may."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.hears = asyncio.Event()
        self.refuses = False

    async def start(self) -> Start:
        raise AssertionError

    async def tell(self, next_offset: int, note: str) -> None:
        await self.hears.wait()
        if self.refuses:
            raise CommitFailedError
        self.told.append(next_offset)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    monkeypatch.setattr(marks, "_TELL_SECONDS", 0.0)
    monkeypatch.setattr(marks, "_TELL_LIMIT", 0.01)
    return Group()


def mark(group: Group, writer: Writer | None = None) -> Mark:
    return Mark(SOURCE, LOG, cast("TransactionalWriter", writer or Writer()), "group", group)


async def test_what_is_written_while_the_group_is_told_is_told_too(group: Group) -> None:
    group.hears.set()
    told = mark(group)
    await told.write([EVENT], 1)
    told.tell_now_and_then()
    await told.write([EVENT], 2)  # before the telling has begun
    await asyncio.sleep(0.01)
    assert not told.is_told
    told.tell_now_and_then()
    await asyncio.sleep(0.01)
    assert (group.told, told.is_told) == ([1, 2], True)


async def test_a_group_that_changes_is_told_again(group: Group) -> None:
    group.hears.set()
    group.refuses = True
    told = mark(group)
    await told.write([EVENT], 1)
    told.tell_now_and_then()
    await asyncio.sleep(0.01)
    group.refuses = False
    told.tell_now_and_then()
    await asyncio.sleep(0.01)
    assert (group.told, told.is_told) == ([1], True)


async def test_what_may_arrive_behind_a_transaction_is_told_once_more(group: Group) -> None:
    writer = Writer()
    told = mark(group, writer)
    await told.write([EVENT], 1)
    told.tell_now_and_then()
    await told.tell_the_group()  # waits for it, though not for ever
    assert (writer.told, told.is_told) == ([1], False)
    group.hears.set()
    await asyncio.sleep(0.01)
    told.tell_now_and_then()
    await asyncio.sleep(0.01)
    assert (group.told, told.is_told) == ([1, 1], True)


async def test_a_transaction_tells_what_is_not_under_way_for_good(group: Group) -> None:
    writer = Writer()
    told = mark(group, writer)
    await told.write([EVENT], 3)
    await told.tell_the_group()
    assert (writer.told, group.told, told.is_told) == ([3], [], True)
