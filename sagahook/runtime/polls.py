"""Takes from a consumer what it holds: as soon as there is something, and after a rest all that came meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

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


class Polls:
    """max_records: the most that one of them gets."""

    def __init__(self, rests: Rests, max_records: int) -> None:
        self._rests = rests
        self._max_records = max_records
        self._waiting: asyncio.Timeout | None = None

    async def rest_and_poll(self, consumer: AIOKafkaConsumer, refuse: Refuse) -> Polled:
        """What there is once the rest is over; without one, the first that comes."""
        rested = await self._rests.over()
        began = time.monotonic()
        polled = await self._poll(consumer, refuse, IDLE_MS, self._max_records)
        room = self._max_records - sum(map(len, polled.values()))
        if rested and polled and room > 0 and time.monotonic() - began < _AT_ONCE:
            for partition, records in (await self._poll(consumer, refuse, _FRESH_MS, room)).items():
                polled.setdefault(partition, []).extend(records)
        return polled

    def interrupt(self) -> None:
        """A poll that waits for records ends without any: there is something better to do."""
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    async def _poll(self, consumer: AIOKafkaConsumer, refuse: Refuse, timeout_ms: int, most: int) -> Polled:
        try:
            async with asyncio.timeout(_REBALANCE_LIMIT) as self._waiting:
                polled: Polled = await consumer.getmany(timeout_ms=timeout_ms, max_records=most)
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
