"""Takes what there is behind a reader's offsets with one request to each leader.

It is for a reader that knows that there is something. aiokafka's consumer fetches in one task, hands over in another,
and fetches what comes next before anybody wants it; a reader that rests between its batches needs one answer for each.
What the bytes mean is told by aiokafka's own code, here as there.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords

from sagahook.runtime import kafka_fetch
from sagahook.runtime.kafka_line import Line

_MOST_BYTES = 1 << 18
"""Of a partition; what a reader that rests has behind it is less."""

_SECONDS = 1.0
"""There is something, so a broker answers at once, or is in trouble that aiokafka knows how to get out of."""

Offsets = Mapping[TopicPartition, int]


class Gathered(NamedTuple):
    """Of one partition. records: those that are committed. next_offset: behind them and all that no reader is shown."""

    records: list[ConsumerRecord]
    next_offset: int


class _Unread(Exception):
    """A partition can't be read in this way now."""


async def gather(
    lines: Mapping[Line, Collection[TopicPartition]], offsets: Offsets
) -> dict[TopicPartition, Gathered] | None:
    """By partition what is behind its offset, where there is anything; None where it could not be had of all of them.
    lines: to the leaders, nothing under way on any."""
    answers = [line.answer(_request(places, offsets)) for line, places in lines.items()]
    try:
        async with asyncio.timeout(_SECONDS):
            told = await asyncio.gather(*answers)
        return {place: gathered for each in told for place, gathered in _read(each, offsets)}
    except (KafkaError, TimeoutError, struct.error, UnicodeDecodeError, _Unread):
        return None


def _request(places: Collection[TopicPartition], offsets: Offsets) -> bytes:
    by_topic: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for place in places:
        by_topic[place.topic][place.partition] = offsets[place]
    return kafka_fetch.body(by_topic, 0, _MOST_BYTES)


def _read(told: bytes, offsets: Offsets) -> Iterator[tuple[TopicPartition, Gathered]]:
    for fetched in kafka_fetch.answer(told):
        if fetched.error:
            raise _Unread
        if fetched.records:
            place = TopicPartition(fetched.topic, fetched.partition)
            gathered = committed(place, fetched, offsets[place])
            if gathered.next_offset == offsets[place]:
                raise _Unread  # a batch that is larger than the limit, and was cut
            yield place, gathered


def committed(place: TopicPartition, fetched: kafka_fetch.Fetched, offset: int) -> Gathered:
    """Raises KafkaError where the bytes are not what was written."""
    found = PartitionRecords(
        place,
        MemoryRecords(fetched.records),
        fetched.aborted,
        offset,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=READ_COMMITTED,
    )
    records = list(found)
    return Gathered(records, found.next_fetch_offset)
