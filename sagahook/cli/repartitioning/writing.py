"""Writes one topic of a new generation: a batch after the other to each partition, which nobody else writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagahook.cli.repartitioning.generation import Refused
from sagahook.saga.brokers import client_options
from sagahook_schemas.envelope import Header
from sagahook_schemas.topics import BODY_LIMIT

_BATCH_BYTES = 512 * 1024
_UNDER_WAY = 64
"""Batches that are not acknowledged yet; then they are waited for."""

_MASK = 2**64 - 1


@dataclass(slots=True)
class Tally:
    """How many records, and a sum over all that is in them: the same records have the same, in whatever order, within
    one process."""

    records: int = 0
    content: int = 0

    def add(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header], timestamp_ms: int
    ) -> None:
        self.records += 1
        self.content = (self.content + hash((key, value, tuple(headers), timestamp_ms))) & _MASK


def new_producer(bootstrap: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **client_options(bootstrap),
        enable_idempotence=True,
        acks="all",
        max_batch_size=_BATCH_BYTES,
        max_request_size=2 * BODY_LIMIT,
    )


class TopicWriter:
    """ends: of each partition, the offset that the next record gets. tally: of all that was put."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._batches: dict[int, Any] = {}
        self._sent: list[tuple[int, int, asyncio.Future[Any]]] = []
        self._begun = [0] * partitions
        self.ends = [0] * partitions
        self.tally = Tally()

    async def put(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        timestamp_ms: int,
    ) -> int:
        """The record's offset. It is in Kafka once `flush` has returned. Raises Refused, KafkaError."""
        record = {"key": key, "value": value, "headers": list(headers), "timestamp": timestamp_ms}
        batch = self._batches.get(partition)
        if batch is None or batch.append(**record) is None:
            if batch is not None:
                await self._send(partition)
            batch = self._batches[partition] = self._producer.create_batch()
            batch.append(**record)  # the client takes a batch's first record whatever its size
        self.tally.add(key, value, headers, timestamp_ms)
        offset = self.ends[partition]
        self.ends[partition] += 1
        return offset

    async def flush(self) -> None:
        """Raises Refused where somebody else writes there, KafkaError."""
        for partition in list(self._batches):
            await self._send(partition)
        await self._arrived()

    async def _send(self, partition: int) -> None:
        batch = self._batches.pop(partition)
        arrival = await self._producer.send_batch(batch, self._topic, partition=partition)
        self._sent.append((partition, self._begun[partition], arrival))
        self._begun[partition] += batch.record_count()
        if len(self._sent) >= _UNDER_WAY:
            await self._arrived()

    async def _arrived(self) -> None:
        sent, self._sent = self._sent, []
        arrivals = await asyncio.gather(*(arrival for *_, arrival in sent), return_exceptions=True)
        for (partition, expected, _), arrival in zip(sent, arrivals, strict=True):
            if isinstance(arrival, KafkaError):
                raise arrival
            if isinstance(arrival, BaseException) or arrival.offset not in (expected, -1):
                raise Refused(
                    f"somebody else writes into {self._topic}, partition {partition}, or it is not empty: is another "
                    "`sagahook topics repartition` running? When nobody does, say it again"
                )
