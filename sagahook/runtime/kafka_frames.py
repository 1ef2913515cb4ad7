"""How requests to Kafka and their answers lie on a connection (kafka.apache.org, "Protocol").

A connection here carries requests of one kind.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka.errors import IncompatibleBrokerVersion

_HEAD = struct.Struct(">ihhih")
_SIZE = struct.Struct(">i")
_ANSWER_HEAD = struct.Struct(">ii")
_LENGTH = struct.Struct(">h")
_COUNT = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class Kind:
    """Of request, in one version. since: the version of Kafka that knows it."""

    name: str
    key: int
    version: int
    since: str

    def check(self, versions: Mapping[int, tuple[int, int]]) -> None:
        """versions: by kind of request, those that a broker takes. Raises IncompatibleBrokerVersion."""
        least, most = versions.get(self.key, (0, 0))
        if not least <= self.version <= most:
            raise IncompatibleBrokerVersion(
                f"the broker takes no {self.name} of version {self.version}: use Kafka {self.since} or newer"
            )


def framed(kind: Kind, number: int, client_id: bytes, request: bytes) -> bytes:
    """As it goes over a connection. number: by which the answer is known."""
    size = _HEAD.size - _SIZE.size + len(client_id) + len(request)
    return _HEAD.pack(size, kind.key, kind.version, number, len(client_id)) + client_id + request


def first_answer(received: bytes) -> tuple[int, bytes, bytes] | None:
    """The number of the first request that is answered, the answer, and what came behind it; None where it has not all
    come yet."""
    if len(received) < _ANSWER_HEAD.size:
        return None
    size, number = _ANSWER_HEAD.unpack_from(received)
    end = _SIZE.size + size
    if len(received) < end:
        return None
    return number, received[_ANSWER_HEAD.size : end], received[end:]


def topic_head(topic: str, partitions: int) -> bytes:
    """What stands before so many partitions of a topic."""
    name = topic.encode()
    return _LENGTH.pack(len(name)) + name + _COUNT.pack(partitions)


def topic_at(told: bytes, at: int) -> tuple[str, int, int]:
    """Of such a head: the topic, how many partitions follow, and where. Raises struct.error or UnicodeDecodeError."""
    (length,) = _LENGTH.unpack_from(told, at)
    behind_name = at + _LENGTH.size + length
    (partitions,) = _COUNT.unpack_from(told, behind_name)
    return told[behind_name - length : behind_name].decode(), partitions, behind_name + _COUNT.size
