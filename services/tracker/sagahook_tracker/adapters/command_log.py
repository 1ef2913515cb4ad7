"""Writes what operators ask for to the log: commands to `saga.commands`, where the sagas' owners read them, and pauses
to `saga.definitions`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.topics import TopicsMismatch, partition_count
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of

_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """One command, with the envelope it travels in. key: what it is about. partition: where in the topic it goes; None:
    where everything about the key lives."""

    key: str
    envelope: Envelope
    command: Contract
    partition: int | None = None


class CommandLog:
    """It connects at the first command. A producer that failed is replaced: its sequence is broken.

    timeout: seconds that one call of `send` may take.
    """

    def __init__(self, bootstrap: str, topic_prefix: str, topic: str, timeout: float = 5.0) -> None:
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._topic = topic
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._partitions = 0
        self._connecting = asyncio.Lock()

    async def send(self, orders: Sequence[Order]) -> None:
        """Returns when Kafka has all of them durably. Raises Unavailable, and then any of them may be in the log."""
        producer = None
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._connected()
                sent = [await self._hand_over(producer, order) for order in orders]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError, OSError, TopicsMismatch) as away:
            if producer is not None and producer is self._producer:
                self._producer = None
            await _stop(producer)
            raise Unavailable(
                f"Kafka at {self._bootstrap} did not take the command ({away or type(away).__name__}); it may "
                "be carried out all the same: look before you ask again"
            ) from away

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        await _stop(producer)

    async def _hand_over(self, producer: AIOKafkaProducer, order: Order) -> asyncio.Future[object]:
        handed_over: asyncio.Future[object] = await producer.send(
            self._topic,
            key=order.key.encode(),
            value=order.command.to_json(),
            headers=order.envelope.to_headers(),
            partition=partition_of(order.key, self._partitions)
            if order.partition is None
            else order.partition,
        )
        return handed_over

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._partitions = await partition_count(self._bootstrap, self._prefix)
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
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
