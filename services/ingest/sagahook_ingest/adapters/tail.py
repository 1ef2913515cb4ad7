"""Follows a whole topic in memory: every replica reads every partition, in no consumer group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

_POLL_MS = 1_000
_RETRY_SECONDS = 1.0

Apply = Callable[[ConsumerRecord], None]
"""Takes one record into the view. It may see a record again; what it cannot read it leaves out, and says so."""


class Tail:
    """One topic's records, from the beginning or of the last `since`, each given to `apply`.

    batch_wait: seconds a record may wait for company at the broker; a busy topic then costs few fetches.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partitions: int,
        apply: Apply,
        *,
        since: timedelta | None = None,
        batch_wait: float = 0.0,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._apply = apply
        self._since = since
        self._batch_wait = batch_wait
        self.caught_up = asyncio.Event()
        """Set once everything is applied that was in the topic when following began."""

    async def run(self) -> None:
        """Follow until cancelled. A broker that is away is waited for."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError) as away:
                log.warning("tail.interrupted", topic=self._topic, error=str(away))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        patient = self._batch_wait > 0
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_min_bytes=256 * 1024 if patient else 1,
            fetch_max_wait_ms=int(self._batch_wait * 1000) if patient else 500,
            retry_backoff_ms=50,
        )
        try:
            await consumer.start()
            consumer.assign(self._partitions)
            await self._seek(consumer)
            behind = await self._ends(consumer)
            while True:
                polled = await consumer.getmany(timeout_ms=_POLL_MS if not behind else 50)
                for records in polled.values():
                    for record in records:
                        self._apply(record)
                if behind:
                    behind = {
                        partition: end
                        for partition, end in behind.items()
                        if await consumer.position(partition) < end
                    }
                if not behind:
                    self.caught_up.set()
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        if self._since is None:
            await consumer.seek_to_beginning(*self._partitions)
            return
        start = int((time.time() - self._since.total_seconds()) * 1000)
        found = await consumer.offsets_for_times(dict.fromkeys(self._partitions, start))
        ends = await consumer.end_offsets(self._partitions)
        for partition in self._partitions:
            # Nothing as young as that: only what is still to come.
            first = found.get(partition)
            consumer.seek(partition, ends[partition] if first is None else first.offset)

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
        return {partition: end for partition, end in ends.items() if end > 0}
