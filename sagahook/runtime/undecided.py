"""What Kafka decided and never wrote down: transactions without their markers.

A commit is answered once the coordinator has recorded it; the markers that end the transaction in each of its
partitions come after. Kafka 4.3.0 to 4.4.0 leaves out those of a partition that has no leader at that moment, as though
the topic had been deleted, and calls the transaction complete (docs/decisions/0004). Its records are then neither
committed nor aborted, until the next transaction of the same writer ends both. So whoever takes over asks what became
of the last transaction, before the fence makes the coordinator forget it, and what is still open after the fence.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    NodeNotReadyError,
    NotCoordinatorError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

GROUP_OFFSETS = "__consumer_offsets"

_OUTCOMES = {
    "PrepareCommit": True,
    "CompleteCommit": True,
    # The fence aborts this one, and with it what an earlier one left undecided before it in the same partitions. What
    # is left of that elsewhere must not become visible by itself.
    "Ongoing": False,
    "PrepareEpochFence": False,
    "PrepareAbort": False,
    "CompleteAbort": False,
}
_NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)
_PAUSE = 0.05
"""Seconds before the coordinator is looked for anew; aiokafka itself, which tells of each try, would wait for 2 ms."""

_NO_TRANSACTION = -1


class _TransactionsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString()),
                ("state", CompactString()),
                ("timeout_ms", Int32),
                ("start_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString()),
                        ("partitions", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _TransactionsRequest_v0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = _TransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString())), ("tags", TaggedFields))


class _DescribeTransactions(Request[_TransactionsRequest_v0]):  # type: ignore[misc]
    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, version: type[_TransactionsRequest_v0]) -> _TransactionsRequest_v0:
        return version([self._transactional_id], {})


class _ProducersResponse(Response):  # type: ignore[misc]
    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", CompactString()),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("transaction_start", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ProducersRequest_v0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = _ProducersResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString()), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeProducers(Request[_ProducersRequest_v0]):  # type: ignore[misc]
    API_KEY = 61

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        topics: dict[str, list[int]] = defaultdict(list)
        for partition in partitions:
            topics[partition.topic].append(partition.partition)
        self._topics = [(topic, numbers, dict[int, bytes]()) for topic, numbers in topics.items()]

    def build(self, version: type[_ProducersRequest_v0]) -> _ProducersRequest_v0:
        return version(self._topics, {})


class Reach(NamedTuple):
    """Where the writers under one id may have written. group: whose offsets they commit."""

    partitions: frozenset[TopicPartition]
    group: str


async def last_outcome(client: Any, coordinator: int, transactional_id: str) -> bool | None:
    """Whether the last transaction under the id was committed; None where there was none, or nobody knows.

    Raises KafkaError where there is no answer yet: to fence then would make the coordinator, which may be reading its
    log at this moment, forget it unasked.
    """
    try:
        answer = await client.send(coordinator, _DescribeTransactions(transactional_id))
    except IncompatibleBrokerVersion:  # before Kafka 3.0
        return None
    code, _, state, *_ = answer.transactions[0]
    if for_code(code) in _NOT_YET:
        await asyncio.sleep(_PAUSE)
        raise NodeNotReadyError(
            f"the coordinator of {transactional_id} is not ready: {for_code(code).__name__}"
        )
    return _OUTCOMES.get(state)


async def left_open(client: Any, producer_id: int, reach: Reach) -> list[TopicPartition]:
    """Where a transaction of the producer is open. Raises KafkaError.

    What is not there, or what this client may not look into, counts as settled.
    """
    await client.set_topics({partition.topic for partition in reach.partitions} | {GROUP_OFFSETS})
    by_leader: dict[int, list[TopicPartition]] = defaultdict(list)
    for partition in (*reach.partitions, *_offsets_of(client, reach.group)):
        leader = client.cluster.leader_for_partition(partition)
        if leader is not None:
            by_leader[leader].append(partition)
    found: list[TopicPartition] = []
    for leader, led in by_leader.items():
        try:
            answer = await client.send(leader, _DescribeProducers(led))
        except IncompatibleBrokerVersion:  # before Kafka 2.8
            return []
        for topic, partitions, _ in answer.topics:
            for number, code, _, producers, _ in partitions:
                if code and for_code(code).invalid_metadata:
                    raise for_code(code)(f"{topic}-{number}")
                if any(each[0] == producer_id and each[5] != _NO_TRANSACTION for each in producers or ()):
                    found.append(TopicPartition(topic, number))
    return found


def _offsets_of(client: Any, group: str) -> Iterator[TopicPartition]:
    """Where Kafka keeps the group's offsets, unless this client may not know."""
    if there := client.cluster.partitions_for_topic(GROUP_OFFSETS):
        yield TopicPartition(GROUP_OFFSETS, abs(_java_hash(group)) % len(there))


def _java_hash(text: str) -> int:
    """`String.hashCode`, of which Kafka makes a group's partition."""
    value = 0
    encoded = text.encode("utf-16-be")
    for high, low in zip(encoded[::2], encoded[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
