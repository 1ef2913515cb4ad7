"""Where the log ends at the moment, as a reader of committed records sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.kafka_closing import close_consumer
from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.topics import TopicsMismatch, partition_count
from sagahook.saga.brokers import client_options


class LogEnd:
    """It connects at the first question. Questions that come together are one request to Kafka.

    timeout: seconds after which a question that Kafka has not answered fails.
    """

    def __init__(
        self, bootstrap: str, topic_prefix: str, topics: Iterable[str], timeout: float = 2.0
    ) -> None:
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._topics = sorted(topics)
        self._timeout = timeout
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._asking: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._next: asyncio.Task[dict[TopicPartition, int]] | None = None

    async def now(self) -> dict[TopicPartition, int]:
        """The end of each partition, not earlier than this call. Raises Unavailable."""
        # One that is being asked for may be older than a record that our caller knows of.
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking), name="log-end")
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        for task in (self._asking, self._next):
            if task is not None:
                task.cancel()
        await self._disconnect()

    async def _ask_after(
        self, earlier: asyncio.Task[dict[TopicPartition, int]] | None
    ) -> dict[TopicPartition, int]:
        if earlier is not None:
            await asyncio.wait({earlier})
        self._asking, self._next = self._next, None
        try:
            async with asyncio.timeout(self._timeout):
                consumer = await self._connect()
                ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
                return ends
        except (KafkaError, TimeoutError, OSError, TopicsMismatch) as away:
            await self._disconnect()
            raise Unavailable(
                f"Kafka at {self._bootstrap} does not say where its log ends: {away!r}"
            ) from away

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            partitions = range(await partition_count(self._bootstrap, self._prefix))
            consumer = AIOKafkaConsumer(**client_options(self._bootstrap), isolation_level="read_committed")
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._partitions = [
                TopicPartition(topic, number) for topic in self._topics for number in partitions
            ]
            self._consumer = consumer
            await look_up(consumer, self._partitions)
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                await close_consumer(consumer)
