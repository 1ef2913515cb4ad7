"""Reads partitions of the log from where they begin: for whoever compares it with the views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.kafka_lookup import ranges
from sagahook.saga.brokers import client_options

_AT_ONCE = 1_000
_WAIT_MS = 20
"""Of one poll: it returns no sooner where only the markers of transactions are left, and then they are passed."""


class LogReader:
    """One consumer without a group, of committed records."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def ranges(self, places: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Where each begins and ends now."""
        return await ranges(self._consumer, places)

    async def read(self, place: TopicPartition, begin: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Its records of [begin, end), in lists; the log must reach that far."""
        if begin >= end:
            return
        self._consumer.assign([place])
        self._consumer.seek(place, begin)
        while await self._consumer.position(place) < end:
            polled = await self._consumer.getmany(place, timeout_ms=_WAIT_MS, max_records=_AT_ONCE)
            records = [record for record in polled.get(place, ()) if record.offset < end]
            if records:
                yield records


@asynccontextmanager
async def open_log_reader(bootstrap: str) -> AsyncIterator[LogReader]:
    """Raises KafkaError."""
    consumer = AIOKafkaConsumer(
        **client_options(bootstrap),
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        # All that is asked for is there: a fetch at a partition's end must not keep the next one's waiting.
        fetch_max_wait_ms=_WAIT_MS,
        retry_backoff_ms=_WAIT_MS,
    )
    try:
        await consumer.start()
        yield LogReader(consumer)
    finally:
        await consumer.stop()
