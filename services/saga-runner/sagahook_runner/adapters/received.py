"""Single records of `webhooks.received`, by where they lie."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.kafka_lookup import ranges
from sagahook.saga.brokers import client_options

_READ_SECONDS = 5.0
_FETCH_BYTES = 1024 * 1024
"""Of one answer. A record that is larger comes all the same."""


class ReceivedLog:
    """For the few webhooks that are read once more. It connects when the first is asked for."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()

    async def read(self, partition: int, offset: int) -> ConsumerRecord | None:
        """None where the log has nothing there, or no longer. Raises KafkaError, OSError, TimeoutError."""
        place = TopicPartition(self._topic, partition)
        async with self._reading:
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    return await self._read(place, offset)
            except BaseException:
                await self.close()
                raise

    async def _read(self, place: TopicPartition, offset: int) -> ConsumerRecord | None:
        consumer = await self._connected()
        consumer.assign([place])
        first, end = (await ranges(consumer, [place]))[place]
        if not first <= offset < end:
            return None
        consumer.seek(place, offset)
        record = await consumer.getone(place)
        return record if record.offset == offset else None

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await consumer.stop()

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **client_options(self._bootstrap),
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=_FETCH_BYTES,
                retry_backoff_ms=50,
            )
            await self._consumer.start()
        return self._consumer
