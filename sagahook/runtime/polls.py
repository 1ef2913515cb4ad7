"""Takes from a consumer what it holds: as soon as there is something, and after a rest all that came meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from sagahook.runtime.rests import BACKLOG, Rests

Polled = dict[TopicPartition, list[ConsumerRecord]]

Refuse = Callable[[AIOKafkaConsumer, Mapping[TopicPartition, int]], Awaitable[None]]
"""Is told of offsets that Kafka does not hold any more; raises where something would be skipped."""

Shortcut = Callable[[AIOKafkaConsumer], Awaitable[Polled | None]]
"""Gets what there is in its own way, and moves the consumer behind it; None where it cannot."""


async def no_shortcut(_: AIOKafkaConsumer) -> None:
    """All that is polled is asked of aiokafka."""


IDLE_MS = 250
"""How long a poll without records waits, here and at the broker: what a seek may have to wait for."""

_REBALANCE_LIMIT = 2.0
"""Seconds after which a poll that waits for a rebalance gives the loop a turn."""

_LONGEST_DETOUR = 1.0
"""Seconds for which nothing is asked of aiokafka: it takes a reader out of the group that did not poll for five
minutes, and what it fetches tells it where partitions have gone."""

_LONGEST_BATCH = 0.5
"""Seconds: what comes while a batch is handled waits for its end."""

_FEWEST = 200
"""Records: how long fewer of them take says little about how long more would."""


def end_now(waiting: asyncio.Timeout | None) -> None:
    """What waits within this, if anything does."""
    if waiting is not None and not waiting.expired():
        waiting.reschedule(0.0)


class Polls:
    """max_records: the most that one of them gets of aiokafka; fewer where the last batch took long. first: topics of
    which somebody waits for each record. aiokafka gives what it holds in the order in which that came, and so of one
    topic again and again where the others had something later. shortcut: taken after a rest."""

    def __init__(
        self,
        rests: Rests,
        max_records: int,
        first: Collection[str] = (),
        shortcut: Shortcut = no_shortcut,
    ) -> None:
        self._rests = rests
        self._max_records = max_records
        self._first = frozenset(first)
        self._shortcut = shortcut
        self._waiting: asyncio.Timeout | None = None
        self._is_interrupted = False
        self._paused: set[TopicPartition] = set()
        self._asked_at = 0.0
        self.most = max_records
        """What one gets now."""

    def handled(self, count: int, seconds: float) -> None:
        """What was polled took so long. Where a machine has no time, the next batch is one that takes half a second."""
        if count >= _FEWEST:
            in_time = int(count * _LONGEST_BATCH / max(seconds, 0.001))
            self.most = min(max(in_time, _FEWEST), self._max_records)

    async def rest_and_poll(self, consumer: AIOKafkaConsumer, refuse: Refuse) -> Polled:
        """What there is once the rest is over; without one, the first that comes; nothing once it is interrupted."""
        if await self._rests.over() and self._may_leave_aiokafka_out():
            taken = await self._take_shortcut(consumer)
            if taken is not None:
                return taken
        self._asked_at = time.monotonic()
        return await self._ask(consumer, refuse)

    def _may_leave_aiokafka_out(self) -> bool:
        """It holds nothing, and does not miss it."""
        is_idle = bool(self._paused) and not self._is_interrupted
        return is_idle and time.monotonic() < self._asked_at + _LONGEST_DETOUR

    async def _take_shortcut(self, consumer: AIOKafkaConsumer) -> Polled | None:
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await self._shortcut(consumer)
        except TimeoutError:  # it was interrupted
            return None
        finally:
            self._waiting = None

    async def _ask(self, consumer: AIOKafkaConsumer, refuse: Refuse) -> Polled:
        holds = not self._go_on(consumer)
        polled: Polled = {}
        try:
            if holds and (first := [place for place in consumer.assignment() if place.topic in self._first]):
                polled = await self._poll(consumer, refuse, 0, self.most, *first)
            await self._add(polled, consumer, refuse, 0 if polled else IDLE_MS)
        finally:
            self._is_interrupted = False
        if polled and sum(map(len, polled.values())) < min(BACKLOG, self.most):
            self._pause(consumer)
        return polled

    def _pause(self, consumer: AIOKafkaConsumer) -> None:
        """Until the next poll. Else aiokafka would fetch at once, get the first record that comes, and fetch nothing
        more as long as that one is held: two fetches for each batch, and the first for next to nothing."""
        self._paused = consumer.assignment() - consumer.paused()
        consumer.pause(*self._paused)

    def _go_on(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether there was a pause, so that nothing is held, or no more than another broker sent at last."""
        paused, self._paused = self._paused & consumer.assignment(), set()
        consumer.resume(*paused)
        return bool(paused)

    def reassigned(self) -> None:
        """Whatever was paused here, where each partition is to be read on is somebody else's to say now."""
        self._paused = set()

    async def _add(self, polled: Polled, consumer: AIOKafkaConsumer, refuse: Refuse, timeout_ms: int) -> None:
        room = self.most - sum(map(len, polled.values()))
        if room > 0:
            for partition, records in (await self._poll(consumer, refuse, timeout_ms, room)).items():
                polled.setdefault(partition, []).extend(records)

    def interrupt(self) -> None:
        """There is something better to do: a poll that waits for records ends without any, or the next one does."""
        self._is_interrupted = True
        end_now(self._waiting)

    async def _poll(
        self, consumer: AIOKafkaConsumer, refuse: Refuse, timeout_ms: int, most: int, *places: TopicPartition
    ) -> Polled:
        """places: of these alone."""
        if self._is_interrupted:
            return {}
        try:
            async with asyncio.timeout(_REBALANCE_LIMIT) as self._waiting:
                polled: Polled = await consumer.getmany(*places, timeout_ms=timeout_ms, max_records=most)
                return polled
        except (
            TimeoutError
        ):  # getmany waits without a limit while the group rebalances; or it was interrupted
            return {}
        except OffsetOutOfRangeError as lost:
            await refuse(consumer, lost.args[0])
            return {}
        finally:
            self._waiting = None
