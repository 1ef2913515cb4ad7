"""Kafka's request `Fetch`, version 4 (kafka.apache.org, "The Messages: Fetch")."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from sagahook.runtime.kafka_frames import Kind, topic_at, topic_head

FETCH = Kind("Fetch", key=1, version=4, since="0.11")

_NO_REPLICA, _COMMITTED, _ONE_BYTE = -1, 1, 1
_MOST = 1 << 20  # bytes of all partitions together, but for one batch that has more

_BEFORE_TOPICS = struct.Struct(">iiiibi")
_SIZE = struct.Struct(">i")
_PLACE = struct.Struct(">iqi")

_ANSWER_HEAD = struct.Struct(">ii")
_PARTITION = struct.Struct(">ihqqi")
_ABORTED = struct.Struct(">qq")

_BATCH = struct.Struct(">qiiBiHi")
"""First offset, length behind it, epoch, format, checksum, attributes, last offset less the first."""
_BEFORE_LENGTH = 12
_COMPRESSION, _IS_CONTROL = 0b111, 0b100000


Offsets = Mapping[TopicPartition, int]


class Fetched(NamedTuple):
    """What one partition has. error: a code. stable: behind what is decided. aborted: the transactions that count for
    nothing, by their producers' ids and first offsets. records: its batches, the last of them perhaps cut."""

    topic: str
    partition: int
    error: int
    stable: int
    aborted: tuple[tuple[int, int], ...]
    records: bytes


class RecordBatch(NamedTuple):
    """records: None where they are compressed. end: the offset behind its last record."""

    end: int
    records: bytes | None


def body(offsets: Offsets, wait: int, most: int) -> bytes:
    """offsets: from which on. wait: milliseconds until there is anything. most: bytes of one partition, but for one
    batch that has more."""
    places: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for place, offset in offsets.items():
        places[place.topic][place.partition] = offset
    parts = [_BEFORE_TOPICS.pack(_NO_REPLICA, wait, _ONE_BYTE, _MOST, _COMMITTED, len(places))]
    for topic, of_topic in places.items():
        parts.append(topic_head(topic, len(of_topic)))
        parts += (_PLACE.pack(partition, offset, most) for partition, offset in of_topic.items())
    return b"".join(parts)


def answer(told: bytes) -> Iterator[Fetched]:
    """Raises struct.error or UnicodeDecodeError where it is no answer to this."""
    _, topics = _ANSWER_HEAD.unpack_from(told)
    at = _ANSWER_HEAD.size
    for _ in range(topics):
        topic, partitions, at = topic_at(told, at)
        for _ in range(partitions):
            partition, error, _, stable, count = _PARTITION.unpack_from(told, at)
            at += _PARTITION.size
            aborted = tuple(_ABORTED.unpack_from(told, at + n * _ABORTED.size) for n in range(count))
            at += len(aborted) * _ABORTED.size
            (size,) = _SIZE.unpack_from(told, at)
            begin = at + _SIZE.size
            at = begin + max(0, size)
            yield Fetched(topic, partition, error, stable, aborted, told[begin:at])


def batches(records: bytes) -> Iterator[RecordBatch]:
    """Those that are whole, without the marks of transactions: of these only the end."""
    at = 0
    while at + _BATCH.size <= len(records):
        first, length, _, _, _, attributes, more = _BATCH.unpack_from(records, at)
        end = at + _BEFORE_LENGTH + length
        if end > len(records) or length < _BATCH.size - _BEFORE_LENGTH:
            return
        found = None if attributes & _COMPRESSION else records[at + _BATCH.size : end]
        yield RecordBatch(first + more + 1, b"" if attributes & _IS_CONTROL else found)
        at = end
