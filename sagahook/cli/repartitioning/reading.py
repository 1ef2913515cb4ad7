"""Reads ranges of the log: by time over all partitions of a topic, or what stands last."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

_AT_ONCE = 2_000
"""Records that are fetched in one go."""

_FETCH_MS = 100
_LOOK_BACK = 8
"""Offsets before the end at which a last record is looked for first: transactions have ends of their own."""

Ranges = Mapping[TopicPartition, tuple[int, int]]
"""Of each partition the first offset, and the one after the last."""


async def read_by_time(consumer: AIOKafkaConsumer, ranges: Ranges) -> AsyncIterator[list[ConsumerRecord]]:
    """Every committed record in the ranges, in the order of their times, those of one partition in their own order.
    Raises KafkaError."""
    left = {place: end for place, (begin, end) in ranges.items() if begin < end}
    if not left:
        return
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, ranges[place][0])
    ahead: dict[TopicPartition, deque[ConsumerRecord]] = {place: deque() for place in left}
    while left or any(ahead.values()):
        await _fetch(consumer, left, ahead)
        if ready := in_order(left, ahead):
            yield ready


async def _fetch(
    consumer: AIOKafkaConsumer,
    left: dict[TopicPartition, int],
    ahead: Mapping[TopicPartition, deque[ConsumerRecord]],
) -> None:
    """Until something is ahead of each partition that is not at its end; those that are leave `left`."""
    while empty := [place for place in left if not ahead[place]]:
        polled = await consumer.getmany(*empty, timeout_ms=_FETCH_MS, max_records=_AT_ONCE)
        for place in empty:
            ahead[place].extend(record for record in polled.get(place, ()) if record.offset < left[place])
            # The last records may be an aborted transaction's, or the end of one: the position passes these too.
            if not ahead[place] and await consumer.position(place) >= left[place]:
                del left[place]


def in_order(
    left: Mapping[TopicPartition, int], ahead: Mapping[TopicPartition, deque[ConsumerRecord]]
) -> list[ConsumerRecord]:
    """What can be told before more must be fetched."""
    heads = [(records[0].timestamp, place) for place, records in ahead.items() if records]
    heapq.heapify(heads)
    ready: list[ConsumerRecord] = []
    while heads:
        _, place = heads[0]
        records = ahead[place]
        ready.append(records.popleft())
        if records:
            heapq.heapreplace(heads, (records[0].timestamp, place))
        elif place in left:
            break
        else:
            heapq.heappop(heads)
    return ready


async def last_of(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, end: int
) -> ConsumerRecord | None:
    """The last committed record of the partition; None where it has none."""
    back = _LOOK_BACK
    while begin < end:
        first = max(begin, end - back)
        last = None
        async for records in read_by_time(consumer, {place: (first, end)}):
            last = records[-1]
        if last is not None or first == begin:
            return last
        back *= 8
    return None
