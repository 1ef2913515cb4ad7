"""How far a reader is behind, as Kafka says.

The client's own idea of where a log ends is as old as its last fetch, and a reader that is full, or waits for its
database, fetches nothing: just then it would say that nothing waits. So Kafka is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.metrics import LAGS

EVERY = 5.0
"""Seconds between two questions."""

_UNTIL_GIVEN = 0.5
"""Seconds between two looks whether there is a partition to ask about."""

_ANSWER_SECONDS = 5.0


class Reader(Protocol):
    """One member of a group. consumer: None where it has none at the moment."""

    @property
    def group(self) -> str: ...

    @property
    def consumer(self) -> AIOKafkaConsumer | None: ...

    async def taken(self) -> Mapping[TopicPartition, int]:
        """The offset to take up next in each partition that it reads."""
        ...


async def watch_lag(reader: Reader) -> None:
    """Tell the metrics until cancelled. While Kafka is away they stay as they were."""
    try:
        while True:
            # What is wrong with Kafka the reader itself says.
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    LAGS.tell(reader.group, await lag_of(reader))
            await asyncio.sleep(EVERY if LAGS.knows(reader.group) else _UNTIL_GIVEN)
    finally:
        LAGS.forget(reader.group)


async def lag_of(reader: Reader) -> dict[TopicPartition, int]:
    """Records, by partition; the end of a transaction is none. Raises KafkaError, OSError."""
    consumer, taken = reader.consumer, await reader.taken()
    if consumer is None or not taken:
        return {}
    ends: dict[TopicPartition, int] = await consumer.end_offsets(list(taken))
    return {place: max(0, ends[place] - offset) for place, offset in taken.items()}
