"""Reads single records of the log by where they stand: the views keep the places, and no bodies."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.erasable import KeysInTime
from sagahook.saga.brokers import client_options
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from sagahook_tracker.adapters.opening import Record, opened
from sagahook_tracker.domain.timeline import Place

_PARTITION_BYTES = 256 * 1024
"""Of each answer; a batch that is larger comes whole all the same (KIP-74)."""

_READ_UNCOMMITTED = 0
"""Kafka's isolation level. What the views tell of is committed."""


__all__ = ["Record", "RecordsAt"]


class RecordsAt:
    """It connects at the first question.

    keys: for bodies that are sealed. timeout: seconds that one question may take.
    """

    def __init__(
        self, bootstrap: str, topic_prefix: str, keys: KeysInTime | None = None, timeout: float = 5.0
    ) -> None:
        self._keys = keys
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._timeout = timeout
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()

    async def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """Those that the log still has. Raises Unavailable."""
        found = await self._read(places)
        keys = self._keys.keys if self._keys is not None else None
        if keys is None:
            return found
        return {
            place: await opened(record, keys) if place.topic == WEBHOOKS_RECEIVED.base else record
            for place, record in found.items()
        }

    async def _read(self, places: Iterable[Place]) -> dict[Place, Record]:
        wanted: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for topic, partition, offset in places:
            wanted[TopicPartition(topic, partition)].add(offset)
        found: dict[Place, Record] = {}
        if not wanted:
            return found
        client = None
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._connected({topic for topic, _ in wanted})
                while wanted:
                    left = _count(wanted)
                    await self._round(client, list(wanted), wanted, found)
                    if left == _count(wanted):
                        # Batches that are too large to share an answer: one that is asked for alone comes whole.
                        await self._round(client, [next(iter(wanted))], wanted, found)
        except (KafkaError, TimeoutError, OSError) as away:
            await self._disconnect(client)
            raise Unavailable(
                f"Kafka at {self._bootstrap} does not give records ({away or type(away).__name__})"
            ) from away
        return found

    async def close(self) -> None:
        await self._disconnect(self._client)

    async def _round(
        self,
        client: AIOKafkaClient,
        partitions: Sequence[TopicPartition],
        wanted: defaultdict[TopicPartition, set[int]],
        found: dict[Place, Record],
    ) -> None:
        """The first record that is wanted of each of the partitions, and what comes along."""
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for partition in partitions:
            by_leader[self._leader(client, partition)].append(partition)
        answers = await asyncio.gather(
            *(
                client.send(leader, self._request({each: min(wanted[each]) for each in led}))
                for leader, led in by_leader.items()
            )
        )
        for answer in answers:
            for name, fetched in answer.topics:
                for number, code, end, *_, records in fetched:
                    partition = TopicPartition(name.removeprefix(f"{self._prefix}."), number)
                    if not (records or code or len(partitions) == 1) and min(wanted[partition]) < end:
                        continue  # it found no room in the answer
                    self._take(partition, code, records or b"", wanted[partition], found)
                    if not wanted[partition]:
                        del wanted[partition]

    def _request(self, first: dict[TopicPartition, int]) -> FetchRequest:
        topics: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for partition, offset in first.items():
            topics[self._name(partition.topic)].append((partition.partition, offset, _PARTITION_BYTES))
        return FetchRequest(
            max_wait_time=0,
            min_bytes=0,
            max_bytes=_PARTITION_BYTES * len(first),
            isolation_level=_READ_UNCOMMITTED,
            topics=list(topics.items()),
        )

    def _take(
        self,
        partition: TopicPartition,
        code: int,
        records: bytes,
        offsets: set[int],
        found: dict[Place, Record],
    ) -> None:
        """What is found, or cannot be found any more, is no longer among `offsets`."""
        error = for_code(code)
        if error in (OffsetOutOfRangeError, UnknownTopicOrPartitionError):
            offsets.discard(min(offsets))  # retention took it; what comes later may be there
            return
        if error is not NoError:
            raise error()
        batches = MemoryRecords(records)
        reached = min(offsets)
        while batches.has_next():
            batch = batches.next_batch()
            if not batch.is_control_batch and any(
                batch.base_offset <= each < batch.next_offset for each in offsets
            ):
                for record in batch:
                    if record.offset in offsets:
                        at = datetime.fromtimestamp((record.timestamp or 0) / 1000, UTC)
                        place = Place(partition.topic, partition.partition, record.offset)
                        found[place] = Record(at, tuple(record.headers), record.key, record.value)
            reached = max(reached, batch.next_offset - 1)
        # At the least the one that was asked for is settled: an answer without a batch means that there is none.
        offsets.difference_update([offset for offset in offsets if offset <= reached])

    async def _connected(self, topics: set[str]) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(**client_options(self._bootstrap))
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            for topic in topics:
                if not self._client.cluster.partitions_for_topic(self._name(topic)):
                    await self._client.add_topic(self._name(topic))
            return self._client

    async def _disconnect(self, client: AIOKafkaClient | None) -> None:
        if client is not None and client is self._client:
            self._client = None
        if client is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), 2.0)

    def _leader(self, client: AIOKafkaClient, partition: TopicPartition) -> int:
        leader: int | None = client.cluster.leader_for_partition(
            TopicPartition(self._name(partition.topic), partition.partition)
        )
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{partition.topic} {partition.partition}")
        return leader

    def _name(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"


def _count(wanted: Mapping[TopicPartition, set[int]]) -> int:
    return sum(map(len, wanted.values()))
