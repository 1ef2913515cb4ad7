"""Kafka's request `Produce`, version 7 (kafka.apache.org, "The Messages: Produce"), of one topic.

It is encoded in one piece, and so is its answer decoded; aiokafka's own does it field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion

_KEY, _VERSION = 0, 7
_ALL = -1
"""Acknowledged when every replica in sync has it."""

_HEAD = struct.Struct(">hhih")
_BEFORE_TOPIC = struct.Struct(">hhiih")
_BATCH = struct.Struct(">ii")
_COUNT = struct.Struct(">i")
_ANSWER = struct.Struct(">ihqqq")
_CORRELATION = struct.Struct(">i")


class _Head(NamedTuple):
    encoded: bytes

    def encode(self) -> bytes:
        return self.encoded


class _AnswerHead(NamedTuple):
    correlation_id: int


class Produce:
    """As aiokafka's connections want a request. batches: by partition. timeout: milliseconds for the replicas.

    It is answered with `{partition: (error code, offset)}`.
    """

    API_KEY = _KEY
    API_VERSION = _VERSION

    def __init__(self, topic: str, batches: Mapping[int, bytes], timeout: int) -> None:
        self._topic = topic.encode()
        self._batches = batches
        self._timeout = timeout
        self.RESPONSE_TYPE = self

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Produce:
        """Raises IncompatibleBrokerVersion."""
        least, most = versions.get(_KEY, (0, 0))
        if not least <= _VERSION <= most:
            raise IncompatibleBrokerVersion(
                f"the broker takes no Produce of version {_VERSION}: use Kafka 2.1 or newer"
            )
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Head:
        client = client_id.encode()
        return _Head(_HEAD.pack(_KEY, _VERSION, correlation_id, len(client)) + client)

    def encode(self) -> bytes:
        no_transaction, one_topic = -1, 1
        parts = [
            _BEFORE_TOPIC.pack(no_transaction, _ALL, self._timeout, one_topic, len(self._topic)),
            self._topic,
            _COUNT.pack(len(self._batches)),
        ]
        for partition, records in self._batches.items():
            parts += (_BATCH.pack(partition, len(records)), records)
        return b"".join(parts)

    def parse_response_header(self, answer: BytesIO) -> _AnswerHead:
        return _AnswerHead(*_CORRELATION.unpack(answer.read(_CORRELATION.size)))

    def decode(self, answer: BytesIO) -> dict[int, tuple[int, int]]:
        """Raises struct.error where it is no answer to this."""
        told = answer.read()
        at = _COUNT.size + 2 + len(self._topic)  # behind how many topics there are, and the name of the one
        (count,) = _COUNT.unpack_from(told, at)
        at += _COUNT.size
        answers = (_ANSWER.unpack_from(told, at + index * _ANSWER.size) for index in range(count))
        return {partition: (code, offset) for partition, code, offset, _, _ in answers}
