"""What happens to sagas, as it becomes visible, to however many who watch: read once from the views, told to all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated
from sagahook.runtime.logging import get_logger
from sagahook_tracker.adapters.news import News
from sagahook_tracker.domain.positions import Places

log = get_logger(__name__)

PAGE = 500
"""Of one partition, that are read at once."""

KEPT = 4_096
"""Events in memory. Who is further behind reads them from the views."""

HEARTBEAT = 15.0
"""Seconds without an event after which a watcher is told where it stands: so a dead connection is noticed, proxies do
not cut a silent one, and where to go on from never grows old."""

_PATIENCE = 2.0
"""Seconds that a first watcher waits for the connection that listens."""

_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a saga. body: JSON, on one line."""

    partition: int
    offset: int
    saga_id: str
    correlation_id: str | None
    task_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; None: any. saga_ids: of one of them."""

    saga_ids: frozenset[str] | None = None
    correlation_id: str | None = None
    task_type: str | None = None

    def __call__(self, told: Told) -> bool:
        return (
            (self.saga_ids is None or told.saga_id in self.saga_ids)
            and (self.correlation_id is None or told.correlation_id == self.correlation_id)
            and (self.task_type is None or told.task_type == self.task_type)
        )


Load = Callable[[Places, int, Wanted], Awaitable[Sequence[Told]]]
"""Events from the given places on, at most so many of each partition, each partition's in its order."""


class Feed:
    """topic: the full name of saga.events."""

    def __init__(self, news: News, topic: str, load: Load) -> None:
        self._news = news
        self._topic = topic
        self._load = load
        self._places: dict[int, int] = {}
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self._count = 0
        """How many were ever kept; the last of them is the newest in `_kept`."""
        self._watchers = 0
        self._watched = asyncio.Event()
        self._more = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Every watcher's events end; it goes on at another replica."""
        self._closed = True
        self._tell()

    async def run(self) -> None:
        """Reads for as long as somebody watches, until cancelled. A database that is away is waited for."""
        while True:
            await self._watched.wait()
            try:
                await self._news.passes(self._topic, self._places)
                if self._watchers:
                    await self._read()
            except (Unavailable, NotMigrated) as away:
                log.warning("feed.waiting", reason=str(away))
                await asyncio.sleep(_RETRY)

    async def follow(self, after: Places | None, wanted: Wanted) -> AsyncIterator[tuple[Places, Told | None]]:
        """Each event that is wanted after the given places, or from now on, with the places that then were seen; the
        first at once and every HEARTBEAT without an event, so that the caller can say where to go on. Raises
        Unavailable."""
        if not await self._news.begins(_PATIENCE):
            raise Unavailable("PostgreSQL is away: nothing is heard of what changes")
        with self._watching():
            seen = dict(self._places if after is None else after)
            yield seen, None
            at = self._count if after is None else -1
            while not self._closed:
                if at < self._count - len(self._kept):
                    at = self._count
                    async for told in self._stored(seen, wanted):
                        yield seen, told
                elif at < self._count:
                    told = self._kept[at - self._count]
                    at += 1
                    if told.offset >= seen.get(told.partition, 0):
                        seen[told.partition] = told.offset + 1
                        if wanted(told):
                            yield seen, told
                elif not await self._is_told():
                    yield seen, None

    async def _stored(self, seen: dict[int, int], wanted: Wanted) -> AsyncIterator[Told]:
        """Until there are no more; `seen` goes along."""
        while True:
            ends = self._news.places(self._topic)
            page = await self._load(dict.fromkeys(ends, 0) | seen, PAGE, wanted)
            for told in page:
                seen[told.partition] = told.offset + 1
                yield told
            if len(page) < PAGE:  # then no partition has more than what came
                _advance(seen, ends)
                return

    async def _read(self) -> None:
        everything = Wanted()
        async for told in self._stored(self._places, everything):
            self._kept.append(told)
            self._count += 1
        self._tell()

    async def _is_told(self) -> bool:
        """Whether there is something new within HEARTBEAT."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._more.wait(), HEARTBEAT)
            return True
        return False

    def _tell(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """The first one's places are what the views stand for by now: what it reads from them itself, before it looks
        at what is kept, it reads later than this."""
        if not self._watchers:
            self._places = self._news.places(self._topic)
            self._kept.clear()
        self._watchers += 1
        self._watched.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()


def _advance(seen: dict[int, int], ends: Mapping[int, int]) -> None:
    """Also past what is no event: the end of each transaction has an offset of its own."""
    for partition, end in ends.items():
        seen[partition] = max(end, seen.get(partition, 0))
