"""Takes what there is behind a reader's offsets with one request to each leader.

It is for a reader that knows that there is something. aiokafka's consumer fetches in one task, hands over in another,
and fetches what comes next before anybody wants it; a reader that rests between its batches needs one answer for each.
What the bytes mean is told by aiokafka's own code, here as there.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords

from sagahook.runtime import kafka_fetch
from sagahook.runtime.kafka_fetch import Offsets
from sagahook.runtime.kafka_leaders import Leaders
from sagahook.runtime.kafka_line import GATHERING

_MOST_BYTES = 1 << 18
"""Of a partition; what a reader that rests has behind it is less."""

_SECONDS = 1.0
"""There is something, so a broker answers at once, or is in trouble that aiokafka knows how to get out of."""


class Gathered(NamedTuple):
    """Of one partition. records: those that are committed. next_offset: behind them and all that no reader is shown."""

    records: list[ConsumerRecord]
    next_offset: int


class Gathering:
    """client: a consumer's own; it opens one connection to each leader."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._leaders = Leaders(client, GATHERING)

    async def behind(self, offsets: Offsets) -> dict[TopicPartition, Gathered] | None:
        """By partition what is behind its offset, where there is anything; None where it could not be had at once of
        all of them."""
        by_leader = self._leaders.of(offsets)
        ready = {leader: self._leaders.ready(leader) for leader in by_leader}
        quiet = {leader: line for leader, line in ready.items() if line is not None and line.quiet.is_set()}
        if not quiet or len(quiet) < len(by_leader):
            return None
        answers = []
        for leader, line in quiet.items():
            of_leader = {place: offsets[place] for place in by_leader[leader]}
            answers.append(line.answer(kafka_fetch.body(of_leader, 0, _MOST_BYTES)))
        try:
            async with asyncio.timeout(_SECONDS):
                return read(await asyncio.gather(*answers), offsets)
        except (KafkaError, TimeoutError):
            return None

    def close(self) -> None:
        """No connection is opened any more."""
        self._leaders.close()


def read(answers: Iterable[bytes], offsets: Offsets) -> dict[TopicPartition, Gathered] | None:
    """What brokers told of what is behind the offsets; None where it is not all of that."""
    found = {}
    try:
        for fetched in chain.from_iterable(map(kafka_fetch.answer, answers)):
            place = TopicPartition(fetched.topic, fetched.partition)
            gathered = _committed(place, fetched, offsets[place])
            if gathered.next_offset > offsets[place]:
                found[place] = gathered
            elif fetched.error or fetched.stable > offsets[place]:
                return None  # a batch that is larger than the limit is left out, or cut
    except (KafkaError, struct.error, UnicodeDecodeError):
        return None
    return found


def _committed(place: TopicPartition, fetched: kafka_fetch.Fetched, offset: int) -> Gathered:
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
