"""Batches that are written without a transaction, by one that also writes transactions (docs/decisions/0031).

They go under its producer id and epoch and take its next sequence numbers, which a partition counts for transactions
and batches together: so Kafka keeps a batch once, whatever is repeated, and refuses it where a later epoch has written.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTxnState, for_code

from sagahook.runtime import kafka_produce
from sagahook.runtime.kafka_line import Lines

_PAUSE = 0.002
"""Seconds before what was refused for the moment is sent once more."""

Batches = Mapping[TopicPartition, Any]
"""What aiokafka's `BatchBuilder` has gathered, by partition."""


class Appends:
    """timeout_ms: what the replicas of a partition may take."""

    def __init__(self, producer: AIOKafkaProducer, timeout_ms: int) -> None:
        self._client = producer.client
        self._sequences = producer._txn_manager
        self._timeout_ms = timeout_ms
        self._lines = Lines(producer.client, kafka_produce.PRODUCE, timeout_ms / 1000)

    async def write(self, batches: Batches) -> dict[TopicPartition, int]:
        """Each batch all or nothing; some of them alone, where it fails. Returns the offset behind each.

        Raises what Kafka refuses for good. A refusal is no answer lost: until then the batch is sent again.
        """
        for partition, batch in batches.items():
            first = self._sequences.sequence_number(partition)
            batch._set_producer_state(self._sequences.producer_id, self._sequences.producer_epoch, first)
        waiting = {partition: bytes(batch._build()) for partition, batch in batches.items()}
        ends: dict[TopicPartition, int] = {}
        while True:
            for partition, offset in (await self._send(waiting)).items():
                del waiting[partition]
                count = batches[partition].record_count()
                self._sequences.increment_sequence_number(partition, count)
                ends[partition] = offset + count
            if not waiting:
                return ends
            await asyncio.sleep(_PAUSE)

    async def _send(self, waiting: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, int]:
        """The offsets of those that were written."""
        by_leader: defaultdict[int, dict[TopicPartition, bytes]] = defaultdict(dict)
        for partition, batch in waiting.items():
            leader = self._client.cluster.leader_for_partition(partition)
            by_leader[-1 if leader is None else leader][partition] = batch
        without_leader = by_leader.pop(-1, None)
        written: dict[TopicPartition, int] = {}
        for offsets in await asyncio.gather(*(self._ask(*each) for each in by_leader.items())):
            written |= offsets
        if without_leader:
            for topic in {partition.topic for partition in without_leader}:
                await self._client.add_topic(topic)
            await self._client.force_metadata_update()
        return written

    async def _ask(self, leader: int, batches: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, int]:
        by_topic: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
        for (topic, number), batch in batches.items():
            by_topic[topic][number] = batch
        line = await self._lines.to(leader)
        answer = await line.answer(kafka_produce.body(by_topic, self._timeout_ms))
        written: dict[TopicPartition, int] = {}
        has_moved = False
        for topic, partitions in kafka_produce.answer(answer).items():
            for number, (code, offset) in partitions.items():
                refusal = for_code(code)
                if not code:
                    written[TopicPartition(topic, number)] = offset
                # INVALID_TXN_STATE: the markers of this writer's last transaction are not written yet.
                elif not refusal.retriable and refusal is not InvalidTxnState:
                    raise refusal(f"a batch for {topic}-{number}")
                elif refusal.invalid_metadata:
                    has_moved = True
        if has_moved:
            await self._client.force_metadata_update()
        return written
