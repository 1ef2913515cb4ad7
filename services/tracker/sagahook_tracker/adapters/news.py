"""Wakes whoever waits for the views to change: one connection that listens, however many wait."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from orjson import dumps, loads

from sagahook.runtime.batches import Batches
from sagahook.runtime.database import CONNECT_SECONDS, reaching_database
from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

CHANNEL = "sagahook_tracker"
PAYLOAD_LIMIT = 7_000
"""Bytes of a notification; PostgreSQL takes less than 8,000."""

_OFFSETS_LIMIT = 3_000
"""Bytes of a notification's offsets, so that correlation ids find room beside them."""

_KEEP_ALIVE = 5.0
"""Seconds between two signs of life: a connection that died in silence is noticed by then."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""Seconds between tries to connect: doubled each time, up to the second."""

LoadOffsets = Callable[[], Awaitable[Mapping[TopicPartition, int]]]


def offsets_payload(batches: Batches) -> str:
    """The next offsets as JSON; null where they are too many to tell, so that listeners look them up."""
    offsets: dict[str, dict[str, int]] = defaultdict(dict)
    for partition, batch in batches.items():
        offsets[partition.topic][str(partition.partition)] = batch.next_offset
    payload = dumps(offsets).decode()
    return payload if len(payload) <= _OFFSETS_LIMIT else "null"


class Follower:
    """One who waits for news."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._dismissed = False

    def wake(self) -> None:
        self._changed.set()

    def dismiss(self) -> None:
        self._dismissed = True
        self._changed.set()

    async def hears(self, deadline: float) -> bool:
        """Whether something changed, since the last time, before the deadline (seconds of the monotonic clock). Not
        where the wait is to end now."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            if not self._dismissed:
                self._changed.clear()
            return not self._dismissed
        return False


class News:
    """dsn: where the database is, as it is said at the moment. load_offsets: every offset that the views stand for.
    Raises Unavailable or NotMigrated."""

    def __init__(self, dsn: Callable[[], str], load_offsets: LoadOffsets) -> None:
        self._dsn = dsn
        self._load_offsets = load_offsets
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._offsets: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._refresh = asyncio.Event()
        self._dismissed = False
        self.listening = False
        self.movements = 0
        """How often the views were heard to have changed. To miss nothing, look at it before the look at them."""

    @contextmanager
    def following(self, correlation_id: str) -> Iterator[Follower]:
        """It hears whenever what is known under the correlation id may have become final. To miss nothing, begin
        before the first look."""
        follower = Follower()
        if self._dismissed:
            follower.dismiss()
        self._followers[correlation_id].add(follower)
        try:
            yield follower
        finally:
            self._followers[correlation_id].discard(follower)
            if not self._followers[correlation_id]:
                del self._followers[correlation_id]

    def dismiss(self) -> None:
        """Nobody waits any more, from now on: the process is to end."""
        self._dismissed = True
        self._moved.set()
        self._moved.clear()
        for followers in self._followers.values():
            for follower in followers:
                follower.dismiss()

    async def begins(self, seconds: float) -> bool:
        """Whether it listens, waiting for it if need be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.listening:
                    await self._moved.wait()
        return self.listening

    async def reaches(self, ends: Mapping[TopicPartition, int], seconds: float) -> bool:
        """Whether the views stand for the log up to `ends`, waiting for it if need be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.lag(ends):
                    await self._moved.wait()
        return not self.lag(ends)

    def places(self, topic: str) -> dict[int, int]:
        """How much of one topic the views stand for: the next offset of each partition."""
        return {
            partition.partition: offset
            for partition, offset in self._offsets.items()
            if partition.topic == topic
        }

    async def passes(self, topic: str, places: Mapping[int, int]) -> None:
        """Returns when the views stand for more of the topic than `places` (as of each look)."""
        while all(offset <= places.get(number, 0) for number, offset in self.places(topic).items()):
            await self._moved.wait()

    async def moves(self, since: int, seconds: float) -> bool:
        """Whether the views come to stand for more of the log than when `movements` was `since`, within the time. Not
        where the wait is to end now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.movements == since and not self._dismissed:
                    await self._moved.wait()
                return not self._dismissed
        return False

    def lag(self, ends: Mapping[TopicPartition, int]) -> int:
        """Offsets between the views and `ends`."""
        return sum(max(0, end - self._offsets.get(partition, 0)) for partition, end in ends.items())

    async def run(self) -> None:
        """Listens until cancelled, and connects again whenever the connection is lost."""
        delay = _FIRST_DELAY
        while True:
            try:
                with reaching_database():
                    await self._listen()
            except Exception as reason:  # whatever it is, those who wait must not wait for ever
                if self.listening or delay == _FIRST_DELAY:
                    log.warning("news.waiting", reason=str(reason) or repr(reason))
                delay = _FIRST_DELAY if self.listening else min(2 * delay, _LONGEST_DELAY)
                self.listening = False
                await asyncio.sleep(delay)

    async def _listen(self) -> None:
        """Returns never: a connection that is lost raises."""
        connection = await asyncpg.connect(self._dsn(), timeout=CONNECT_SECONDS)
        try:
            self._offsets.clear()  # they may have gone back, to a backup's
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._refresh.set())
            while True:
                self._refresh.clear()
                self._learn(await self._load_offsets())
                self._wake(*self._followers)  # anything may have happened while nobody listened
                self.listening = True
                while not self._refresh.is_set():
                    await connection.execute("SELECT", timeout=CONNECT_SECONDS)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._refresh.wait(), _KEEP_ALIVE)
        finally:
            connection.terminate()

    def _hear(self, _connection: Any, _process_id: int, _channel: str, payload: str) -> None:
        news = loads(payload)
        if news["offsets"] is None:
            self._refresh.set()
            return
        self._learn(
            {
                TopicPartition(topic, int(partition)): offset
                for topic, offsets in news["offsets"].items()
                for partition, offset in offsets.items()
            }
        )
        self._wake(*(self._followers if news["ids"] is None else news["ids"]))

    def _learn(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Notifications and what is looked up may overtake each other: the later offset is the newer."""
        for partition, offset in offsets.items():
            self._offsets[partition] = max(offset, self._offsets.get(partition, 0))
        self.movements += 1
        self._moved.set()
        self._moved.clear()

    def _wake(self, *correlation_ids: str) -> None:
        for correlation_id in correlation_ids:
            for follower in self._followers.get(correlation_id, ()):
                follower.wake()
