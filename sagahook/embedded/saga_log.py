"""The saga log as any reader of Kafka sees it, followed as it grows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.topics import partition_count
from sagahook.saga.brokers import client_options
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import decode
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.topics import DEFAULT_PREFIX, SAGA_EVENTS


@dataclass(frozen=True)
class LogEvent:
    envelope: Envelope
    data: Contract

    @property
    def kind(self) -> str:
        """`saga.started`, `step.completed`, …"""
        return self.envelope.type.removeprefix("sagahook.").rpartition(".")[0]


class SagaLog:
    """From the moment it is opened."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer = AIOKafkaConsumer(
            **client_options(bootstrap), isolation_level="read_committed", fetch_max_wait_ms=20
        )
        self._events: list[LogEvent] = []
        self._grown = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[SagaLog]:
        count = await partition_count(self._bootstrap, DEFAULT_PREFIX)
        partitions = [TopicPartition(SAGA_EVENTS.name(DEFAULT_PREFIX), number) for number in range(count)]
        await self._consumer.start()
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end(*partitions)
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._consumer.stop()

    async def of(self, correlation_id: str) -> AsyncIterator[LogEvent]:
        """Every event under the correlation id, in the log's order, as they come."""
        told = 0
        while True:
            async with self._grown:
                while len(self._events) == told:
                    await self._grown.wait()
            event = self._events[told]
            told += 1
            if event.envelope.correlation_id == correlation_id:
                yield event

    async def _read(self) -> None:
        while True:
            polled = await self._consumer.getmany(timeout_ms=200)
            events = [
                LogEvent(*decode(record.headers, record.value))
                for records in polled.values()
                for record in records
            ]
            if events:
                async with self._grown:
                    self._events += events
                    self._grown.notify_all()
