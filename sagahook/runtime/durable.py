"""Writes now and then a few records that must be in the log before anybody is told so, outside of transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.topics import TopicsMismatch, partition_count
from sagahook.runtime.transactions import OutRecord
from sagahook.saga.brokers import client_options

_STOP_SECONDS = 2.0


class DurableWriter:
    """It connects at the first record. A producer that failed is replaced: its sequence is broken.

    timeout: seconds that one call of `send` may take.
    """

    def __init__(self, bootstrap: str, topic_prefix: str, timeout: float = 5.0) -> None:
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._partitions = 0
        self._connecting = asyncio.Lock()

    async def send(self, records_of: Callable[[int], Sequence[OutRecord]]) -> None:
        """Returns when Kafka has all of them durably. records_of: from the number of partitions that every topic of the
        deployment has. Raises Unavailable, whose cause says why, and then any of them may be in the log."""
        producer = None
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._connected()
                sent = [
                    await producer.send(
                        record.topic,
                        key=record.key,
                        value=record.value,
                        headers=record.headers,
                        partition=record.partition,
                        timestamp_ms=record.timestamp_ms,
                    )
                    for record in records_of(self._partitions)
                ]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError, OSError, TopicsMismatch) as away:
            if producer is not None and producer is self._producer:
                self._producer = None
            await _stop(producer)
            raise Unavailable(
                f"Kafka at {self._bootstrap} did not take a record in time ({away or type(away).__name__}); try again"
            ) from away

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        await _stop(producer)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._partitions = await partition_count(self._bootstrap, self._prefix)
                producer = AIOKafkaProducer(
                    **client_options(self._bootstrap),
                    enable_idempotence=True,
                    acks="all",
                    request_timeout_ms=int(self._timeout * 1000),
                )
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer


async def _stop(producer: AIOKafkaProducer | None) -> None:
    """Without waiting for a broker that is away."""
    if producer is not None:
        with suppress(TimeoutError, KafkaError, OSError):
            await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
