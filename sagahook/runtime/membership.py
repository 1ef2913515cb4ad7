"""One member of a consumer group: the consumer, and what aiokafka has no public way to ask of its group."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from sagahook.runtime.health import Status
from sagahook.runtime.kafka_reaching import answers
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset, Start
from sagahook.runtime.transactions import OwnershipLost
from sagahook.saga.brokers import client_options

log = get_logger(__name__)

CLOSING_SECONDS = 3.0
_BACKOFF_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


def backoff(attempt: int) -> float:
    """Seconds."""
    return _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]


class Membership:
    """session_timeout, heartbeat: seconds."""

    def __init__(
        self, *, bootstrap: str, group: str, topic: str, session_timeout: float, heartbeat: float
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topic = topic
        self._session_timeout = session_timeout
        self._heartbeat = heartbeat
        # aiokafka keeps the sticky assignor's memory on its class, so each group needs a class of its own.
        self._assignor = type("GroupAssignor", (StickyPartitionAssignor,), {})
        self.consumer: Any = None

    async def start(self, listener: ConsumerRebalanceListener) -> None:
        """Try until the broker is there. A consumer that failed to start is of no more use."""
        for attempt in count():
            self.consumer = self._make_consumer()
            self.consumer.subscribe([self._topic], listener=listener)
            try:
                await self.consumer.start()
                return
            except (KafkaError, OSError) as away:
                log.warning("kafka.away", group=self._group, error=str(away))
                await self.stop()
                await asyncio.sleep(backoff(attempt))

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(self._bootstrap),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=int(self._session_timeout * 1000),
            heartbeat_interval_ms=int(self._heartbeat * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            retry_backoff_ms=50,
        )

    async def check(self) -> Status:
        """Unhealthy while Kafka does not answer: nothing can be taken or done."""
        # aiokafka's consumer shows no client to ask.
        is_up = self.consumer is not None and await answers(self.consumer._client)
        return "healthy" if is_up else "unhealthy"

    def offset(self, partition: TopicPartition) -> GroupOffset:
        return _Offset(self, partition)

    async def confirm(self, partition: TopicPartition) -> None:
        """A heartbeat, so that only the rightful owner fences. Raises OwnershipLost.

        Without it a stalled process that wakes up and the owner that replaced it would fence each other in turn.
        """
        coordinator = self.consumer._coordinator  # aiokafka has no public way to ask for a heartbeat
        generation = coordinator.generation

        def is_assigned() -> bool:
            return (
                partition in self.consumer.assignment()
                and coordinator.generation == generation
                and not coordinator._rejoin_needed_fut.done()
            )

        if not is_assigned() or not await coordinator._do_heartbeat() or not is_assigned():
            raise OwnershipLost(f"the group does not confirm partition {partition.partition}")

    async def stop(self) -> None:
        if self.consumer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(self.consumer.stop(), CLOSING_SECONDS)


class _Offset:
    """Asks and tells by whichever consumer the membership has at the time."""

    def __init__(self, membership: Membership, partition: TopicPartition) -> None:
        self._membership = membership
        self._partition = partition

    async def start(self) -> Start:
        consumer, partition = self._membership.consumer, self._partition
        # aiokafka has no public way to ask for what was noted beside an offset.
        known = await consumer._coordinator.fetch_committed_offsets([partition])
        if partition in known and known[partition].offset >= 0:
            return Start(known[partition].offset, True, known[partition].metadata)
        first: int = (await consumer.beginning_offsets([partition]))[partition]
        return Start(first, False)

    async def tell(self, next_offset: int, note: str) -> None:
        await self._membership.consumer.commit({self._partition: (next_offset, note)})
