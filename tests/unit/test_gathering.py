"""What brokers answer to one who gathers is taken whole or not at all."""

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchResponse_v4
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from sagahook.runtime.gathering import read

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("parcels", 0)
NOT_LEADER = 6


def written(value: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 0, None, value, [])
    return bytes(builder.build())


def told(place: TopicPartition, records: bytes = b"", *, error: int = 0, stable: int = 0) -> bytes:
    """By its leader. stable: behind what is decided."""
    encoded: bytes = FetchResponse_v4(0, [(place.topic, [(0, error, stable, stable, [], records)])]).encode()
    return encoded


def values(*answers: bytes) -> dict[str, list[bytes]] | None:
    """By topic; both were to be read from their beginnings."""
    found = read(answers, {ONE: 0, OTHER: 0})
    if found is None:
        return None
    return {place.topic: [record.value for record in each.records] for place, each in found.items()}


def test_each_leader_tells_of_its_partitions() -> None:
    one = told(ONE, written(b"a"), stable=1)
    assert values(one, told(OTHER, written(b"b"), stable=1)) == {"orders": [b"a"], "parcels": [b"b"]}
    assert values(one, told(OTHER)) == {"orders": [b"a"]}


@pytest.mark.parametrize(
    "answer",
    [
        told(OTHER, error=NOT_LEADER, stable=-1),
        told(OTHER, stable=1),
        told(OTHER, written(b"b")[:-1], stable=1),
        told(OTHER, written(b"b")[:-1] + b"X", stable=1),
        told(OTHER, written(b"b"), stable=1)[:-1],
    ],
    ids=[
        "an error",
        "a batch that was left out",
        "a batch that was cut",
        "not what was written",
        "an answer that was cut",
    ],
)
def test_where_one_cannot_be_read_none_is(answer: bytes) -> None:
    assert values(told(ONE, written(b"a"), stable=1), answer) is None
