"""Follows a whole topic in memory: every replica reads every partition, in no consumer group.

A replica of ingest that publishes much also reads it all back, of which it wants next to nothing. aiokafka's
consumer makes an object of each record, which took a sixth of a request's time; so this fetches by itself and
looks into a batch only where the wanted bytes are (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecord
from aiokafka.record.memory_records import MemoryRecords

from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.logging import get_logger
from sagahook.saga.brokers import client_options

log = get_logger(__name__)

_RETRY_SECONDS = 0.5
_IDLE_SECONDS = 0.5
_FETCH_BYTES = 16 * 1024 * 1024
_PARTITION_BYTES = 4 * 1024 * 1024
_COMPANY_BYTES = 256 * 1024
_ALL_WRITTEN = 0
"""Kafka's isolation level `read_uncommitted`: the topics followed here are written without transactions."""

Apply = Callable[[int, DefaultRecord], None]
"""Takes one record of a partition into the view. It may see a record again; what it cannot read it leaves out,
and says so."""


class Tail:
    """One topic's records, from the beginning or of the last `since`, each given to `apply`.

    wanted: a batch of records with none of these is passed over; none given, none is. batch_wait: seconds that a
    record waits for company at the broker, so that a busy topic costs few fetches.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partitions: int,
        apply: Apply,
        *,
        since: timedelta | None = None,
        wanted: Collection[bytes] = (),
        batch_wait: float = 0.0,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._apply = apply
        self._since = since
        self._wanted = wanted
        self._batch_wait = batch_wait
        self._next: dict[int, int] = {}
        """The offset to read next in each partition; empty before the first look at the topic."""
        self._behind: dict[int, int] = {}
        """The end, as of the first look, of each partition that was not read up to it yet."""
        self._interrupted = False
        self._moved = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set once everything is applied that was in the topic at the first look."""

    async def run(self) -> None:
        """Follow until cancelled. A broker that is away is waited for, a new leader looked up."""
        while True:
            try:
                if not self._next:
                    await self._look()
                await self._follow()
            except OffsetOutOfRangeError:
                # Retention was quicker than we were: what is left of the window begins later now.
                log.warning("tail.out_of_range", topic=self._topic)
                self._next = {}
            except (KafkaError, OSError) as away:
                if not self._interrupted:
                    log.warning("tail.interrupted", topic=self._topic, error=repr(away))
                self._interrupted = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def pass_end(self) -> None:
        """Returns when everything is applied that is in the topic now. A broker that is away is waited for."""
        ends = await self._ends()
        while any(self._next.get(partition, 0) < end for partition, end in ends.items()):
            self._moved.clear()
            await self._moved.wait()

    async def _ends(self) -> dict[int, int]:
        while True:
            consumer = AIOKafkaConsumer(**client_options(self._bootstrap), enable_auto_commit=False)
            try:
                await consumer.start()
                await look_up(consumer, self._partitions)
                ends = await consumer.end_offsets(self._partitions)
                return {partition.partition: end for partition, end in ends.items()}
            except (KafkaError, OSError):
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await consumer.stop()

    async def _look(self) -> None:
        """Find out where to begin and where the topic ends."""
        consumer = AIOKafkaConsumer(**client_options(self._bootstrap), enable_auto_commit=False)
        try:
            await consumer.start()
            await look_up(consumer, self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            first = await consumer.beginning_offsets(self._partitions)
            if self._since is not None:
                start = int((time.time() - self._since.total_seconds()) * 1000)
                found = await consumer.offsets_for_times(dict.fromkeys(self._partitions, start))
                # None: nothing is as young as that.
                first = {
                    partition: ends[partition] if at is None else at.offset for partition, at in found.items()
                }
        finally:
            await consumer.stop()
        self._next = {partition.partition: offset for partition, offset in first.items()}
        self._behind = {partition.partition: end for partition, end in ends.items() if first[partition] < end}
        self._check_caught_up()

    async def _follow(self) -> None:
        client = AIOKafkaClient(**client_options(self._bootstrap))
        reading: list[asyncio.Task[None]] = []
        try:
            await client.bootstrap()
            await client.set_topics([self._topic])
            by_leader: defaultdict[int, list[int]] = defaultdict(list)
            for partition in self._partitions:
                by_leader[_leader(client, partition)].append(partition.partition)
            reading = [
                asyncio.create_task(self._read(client, leader, led)) for leader, led in by_leader.items()
            ]
            await asyncio.gather(*reading)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            await client.close()

    async def _read(self, client: AIOKafkaClient, leader: int, partitions: list[int]) -> None:
        """Read what one broker leads until it fails. Raises KafkaError, OSError."""
        while True:
            request = FetchRequest(
                max_wait_time=int((self._batch_wait or _IDLE_SECONDS) * 1000),
                min_bytes=_COMPANY_BYTES if self._batch_wait else 1,
                max_bytes=_FETCH_BYTES,
                isolation_level=_ALL_WRITTEN,
                topics=[
                    (self._topic, [(number, self._next[number], _PARTITION_BYTES) for number in partitions])
                ],
            )
            response = await client.send(leader, request)
            if self._interrupted:
                log.info("tail.resumed", topic=self._topic)
                self._interrupted = False
            for _, fetched in response.topics:
                for partition, code, *_, records in fetched:
                    error = for_code(code)
                    if error is not NoError:
                        raise error()
                    self._take(partition, records or b"")
            self._moved.set()
            if self._behind:
                self._check_caught_up()
                await asyncio.sleep(0)  # a large backlog must not keep the probes waiting

    def _take(self, partition: int, records: bytes) -> None:
        passed_over = bool(self._wanted) and not any(wanted in records for wanted in self._wanted)
        batches = MemoryRecords(records)
        while batches.has_next():
            batch = batches.next_batch()
            if not batch.is_control_batch and (batch.compression_type or not passed_over):
                for record in batch:
                    if record.offset >= self._next[partition]:
                        self._apply(partition, record)
            self._next[partition] = batch.next_offset

    def _check_caught_up(self) -> None:
        self._behind = {
            partition: end for partition, end in self._behind.items() if self._next[partition] < end
        }
        if not self._behind:
            self.caught_up.set()


def _leader(client: AIOKafkaClient, partition: TopicPartition) -> int:
    leader: int | None = client.cluster.leader_for_partition(partition)
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(f"{partition.topic} {partition.partition}")
    return leader
