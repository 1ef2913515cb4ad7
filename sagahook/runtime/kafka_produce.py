"""Kafka's request `Produce`, version 7 (kafka.apache.org, "The Messages: Produce"), without a transaction.

It is encoded in one piece, and so is its answer decoded; aiokafka's own does it field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from aiokafka.errors import IncompatibleBrokerVersion

_KEY, _VERSION = 0, 7
_ALL = -1
"""Acknowledged when every replica in sync has it."""

_HEAD = struct.Struct(">ihhih")
_BEFORE_TOPICS = struct.Struct(">hhii")
_LENGTH = struct.Struct(">h")
_BATCH = struct.Struct(">ii")
_COUNT = struct.Struct(">i")
_ANSWER = struct.Struct(">ihqqq")
_ANSWER_HEAD = struct.Struct(">ii")

Answer = Mapping[str, Mapping[int, tuple[int, int]]]
"""By topic and partition, an error's code and the offset of the first record."""


def check_version(versions: Mapping[int, tuple[int, int]]) -> None:
    """versions: by kind of request, those that a broker takes. Raises IncompatibleBrokerVersion."""
    least, most = versions.get(_KEY, (0, 0))
    if not least <= _VERSION <= most:
        raise IncompatibleBrokerVersion(
            f"the broker takes no Produce of version {_VERSION}: use Kafka 2.1 or newer"
        )


def body(batches: Mapping[str, Mapping[int, bytes]], timeout: int) -> bytes:
    """batches: by topic and partition. timeout: milliseconds for the replicas."""
    no_transaction = -1
    parts = [_BEFORE_TOPICS.pack(no_transaction, _ALL, timeout, len(batches))]
    for topic, of_topic in batches.items():
        name = topic.encode()
        parts += (_LENGTH.pack(len(name)), name, _COUNT.pack(len(of_topic)))
        for partition, records in of_topic.items():
            parts += (_BATCH.pack(partition, len(records)), records)
    return b"".join(parts)


def framed(number: int, client_id: bytes, request: bytes) -> bytes:
    """As it goes over a connection. number: by which the answer is known."""
    size = _HEAD.size - _COUNT.size + len(client_id) + len(request)
    return _HEAD.pack(size, _KEY, _VERSION, number, len(client_id)) + client_id + request


def first_answer(received: bytes) -> tuple[int, bytes, bytes] | None:
    """The number of the first request that is answered, the answer, and what came behind it; None where it has not all
    come yet."""
    if len(received) < _ANSWER_HEAD.size:
        return None
    size, number = _ANSWER_HEAD.unpack_from(received)
    end = _COUNT.size + size
    if len(received) < end:
        return None
    return number, received[_ANSWER_HEAD.size : end], received[end:]


def answer(told: bytes) -> Answer:
    """Raises struct.error where it is no answer to this."""
    (topics,) = _COUNT.unpack_from(told)
    at = _COUNT.size
    answers: dict[str, Mapping[int, tuple[int, int]]] = {}
    for _ in range(topics):
        (length,) = _LENGTH.unpack_from(told, at)
        behind_name = at + _LENGTH.size + length
        (count,) = _COUNT.unpack_from(told, behind_name)
        begin = behind_name + _COUNT.size
        at = begin + count * _ANSWER.size
        of_topic = (_ANSWER.unpack_from(told, place) for place in range(begin, at, _ANSWER.size))
        answers[told[behind_name - length : behind_name].decode()] = {
            partition: (code, offset) for partition, code, offset, _, _ in of_topic
        }
    return answers
