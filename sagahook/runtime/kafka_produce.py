"""Kafka's request `Produce`, version 7 (kafka.apache.org, "The Messages: Produce"), without a transaction.

It is encoded in one piece, and so is its answer decoded; aiokafka's own does it field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from sagahook.runtime.kafka_frames import Kind, topic_at, topic_head

PRODUCE = Kind("Produce", key=0, version=7, since="2.1")

_ALL = -1
"""Acknowledged when every replica in sync has it."""

_BEFORE_TOPICS = struct.Struct(">hhii")
_BATCH = struct.Struct(">ii")
_COUNT = struct.Struct(">i")
_ANSWER = struct.Struct(">ihqqq")

Answer = Mapping[str, Mapping[int, tuple[int, int]]]
"""By topic and partition, an error's code and the offset of the first record."""


def body(batches: Mapping[str, Mapping[int, bytes]], timeout: int) -> bytes:
    """batches: by topic and partition. timeout: milliseconds for the replicas."""
    no_transaction = -1
    parts = [_BEFORE_TOPICS.pack(no_transaction, _ALL, timeout, len(batches))]
    for topic, of_topic in batches.items():
        parts.append(topic_head(topic, len(of_topic)))
        for partition, records in of_topic.items():
            parts += (_BATCH.pack(partition, len(records)), records)
    return b"".join(parts)


def answer(told: bytes) -> Answer:
    """Raises struct.error where it is no answer to this."""
    (topics,) = _COUNT.unpack_from(told)
    at = _COUNT.size
    answers: dict[str, Mapping[int, tuple[int, int]]] = {}
    for _ in range(topics):
        topic, count, begin = topic_at(told, at)
        at = begin + count * _ANSWER.size
        of_topic = (_ANSWER.unpack_from(told, place) for place in range(begin, at, _ANSWER.size))
        answers[topic] = {partition: (code, offset) for partition, code, offset, _, _ in of_topic}
    return answers
