"""Reads a partition to its end, as fast as the client allows and in slices that leave the event
loop its other work: the heartbeats and the other partitions of the same process go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.kafka_lookup import ranges
from sagahook.saga.brokers import client_options

SLICE = 100
"""Records a list. To unpack and fold so many live sagas takes about 3 ms on two busy cores; and each of the
partitions that a process reads at the same time may take its turn before the loop looks at anything else."""

_FETCH_BYTES = 4 * 1024 * 1024
"""A fetch's answer is parsed in one go, so that it must not be large; nor small, since the next one is only asked
for when the last one is used up."""


def snapshot_consumer(bootstrap: str) -> AIOKafkaConsumer:
    """A consumer without a group for `read_partition`, to be started and stopped by the caller."""
    return AIOKafkaConsumer(
        **client_options(bootstrap),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=50,
    )


async def read_partition(
    consumer: AIOKafkaConsumer, partition: TopicPartition, begin: int = 0
) -> AsyncIterator[list[ConsumerRecord]]:
    """Every committed record from the offset `begin` to the end as of now, in lists of at most `SLICE`.

    To be called after the fence, when nobody writes any more: the end is the last stable offset, so that of a
    transaction still open, and of what lies behind it, nothing is read. Raises OffsetOutOfRangeError where the
    log was cut meanwhile.
    """
    consumer.assign([partition])
    first, end = (await ranges(consumer, [partition]))[partition]
    consumer.seek(partition, max(first, begin))
    # The last records may be an aborted transaction's or a transaction's end: the position passes these too.
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(partition, timeout_ms=20, max_records=SLICE)
        if records := fetched.get(partition):
            yield records
            # What is fetched already is handed out without a turn of the loop.
            await asyncio.sleep(0)
