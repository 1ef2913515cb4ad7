"""What a broker answers to one who gathers is taken whole or not at all."""

import asyncio
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.fetch import FetchResponse_v4
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from sagahook.runtime.gathering import gather
from sagahook.runtime.kafka_line import Line

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("parcels", 0)
NOT_LEADER = 6


class Answering:
    """A line to a broker that tells this."""

    def __init__(self, told: bytes | KafkaError) -> None:
        self._told = told

    def answer(self, _: bytes) -> asyncio.Future[bytes]:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if isinstance(self._told, bytes):
            answer.set_result(self._told)
        else:
            answer.set_exception(self._told)
        return answer


def written(value: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 0, None, value, [])
    return bytes(builder.build())


def told(place: TopicPartition, records: bytes = b"", error: int = 0) -> bytes:
    encoded: bytes = FetchResponse_v4(0, [(place.topic, [(0, error, 9, 9, [], records)])]).encode()
    return encoded


async def gathered(one: bytes | KafkaError, other: bytes | KafkaError) -> dict[str, list[bytes]] | None:
    """From two leaders, the values by topic."""
    lines = {Answering(one): [ONE], Answering(other): [OTHER]}
    found = await gather(cast("dict[Line, list[TopicPartition]]", lines), {ONE: 0, OTHER: 0})
    if found is None:
        return None
    return {place.topic: [record.value for record in each.records] for place, each in found.items()}


async def test_each_leader_tells_of_its_partitions() -> None:
    assert await gathered(told(ONE, written(b"a")), told(OTHER, written(b"b"))) == {
        "orders": [b"a"],
        "parcels": [b"b"],
    }
    assert await gathered(told(ONE), told(OTHER, written(b"b"))) == {"parcels": [b"b"]}


@pytest.mark.parametrize(
    "answer",
    [
        told(OTHER, error=NOT_LEADER),
        told(OTHER, written(b"b")[:-1]),
        told(OTHER, written(b"b")[:-1] + b"X"),
        told(OTHER, written(b"b"))[:-1],
        KafkaConnectionError(),
    ],
    ids=["an error", "a batch that was cut", "not what was written", "an answer that was cut", "no answer"],
)
async def test_where_one_cannot_be_read_none_is(answer: bytes | KafkaError) -> None:
    assert await gathered(told(ONE, written(b"a")), answer) is None
