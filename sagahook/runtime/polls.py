"""Takes from a consumer what it holds: as soon as there is something, and after a rest all that came meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from sagahook.runtime.rests import Rests

Polled = dict[TopicPartition, list[ConsumerRecord]]

Refuse = Callable[[AIOKafkaConsumer, Mapping[TopicPartition, int]], Awaitable[None]]
"""Is told of offsets that Kafka does not hold any more; raises where something would be skipped."""

IDLE_MS = 250
"""How long a poll without records waits, here and at the broker: what a seek may have to wait for."""

_REBALANCE_LIMIT = 2.0
"""Seconds after which a poll that waits for a rebalance gives the loop a turn."""

_AT_ONCE = 0.002
"""Seconds: a poll that took no longer got what aiokafka held already. It fetches nothing as long as it holds records
that nobody polled, and what it holds after a rest is from the rest's beginning: so it is polled once more then."""

_FRESH_MS = 10
"""How long the answer to the fetch is waited for that the poll before has set off."""

_LONGEST_BATCH = 0.5
"""Seconds: what comes while a batch is handled waits for its end."""

_FEWEST = 200
"""Records: how long fewer of them take says little about how long more would."""


class Polls:
    """max_records: the most that one of them gets; fewer where the last batch took long. first: topics of which
    somebody waits for each record. aiokafka gives what it holds in the order in which that came, and so of one topic
    again and again where the others had something later."""

    def __init__(self, rests: Rests, max_records: int, first: Collection[str] = ()) -> None:
        self._rests = rests
        self._max_records = max_records
        self._first = frozenset(first)
        self._waiting: asyncio.Timeout | None = None
        self._is_interrupted = False
        self.most = max_records
        """What one gets now."""

    def handled(self, count: int, seconds: float) -> None:
        """What was polled took so long. Where a machine has no time, the next batch is one that takes half a second."""
        if count >= _FEWEST:
            in_time = int(count * _LONGEST_BATCH / max(seconds, 0.001))
            self.most = min(max(in_time, _FEWEST), self._max_records)

    async def rest_and_poll(self, consumer: AIOKafkaConsumer, refuse: Refuse) -> Polled:
        """What there is once the rest is over; without one, the first that comes; nothing once it is interrupted."""
        rested = await self._rests.over()
        began = time.monotonic()
        polled: Polled = {}
        try:
            if first := [place for place in consumer.assignment() if place.topic in self._first]:
                polled = await self._poll(consumer, refuse, 0, self.most, *first)
            await self._add(polled, consumer, refuse, 0 if polled else IDLE_MS)
            if rested and polled and time.monotonic() - began < _AT_ONCE:
                await self._add(polled, consumer, refuse, _FRESH_MS)
        finally:
            self._is_interrupted = False
        return polled

    async def _add(self, polled: Polled, consumer: AIOKafkaConsumer, refuse: Refuse, timeout_ms: int) -> None:
        room = self.most - sum(map(len, polled.values()))
        if room > 0:
            for partition, records in (await self._poll(consumer, refuse, timeout_ms, room)).items():
                polled.setdefault(partition, []).extend(records)

    def interrupt(self) -> None:
        """There is something better to do: a poll that waits for records ends without any, or the next one does."""
        self._is_interrupted = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

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
