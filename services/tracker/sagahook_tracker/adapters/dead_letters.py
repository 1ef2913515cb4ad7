"""What consumers could not read, in the `*.dlq` topics, straight from Kafka: no view depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.saga.brokers import client_options

SUFFIX = ".dlq"

EXACT = 1_000
"""Records of a topic up to which they are counted one by one: the ends of transactions have offsets too."""

_OURS = ("dlqreason", "dlqtopic", "dlqpartition", "dlqoffset", "dlqconsumer")


Span = tuple[TopicPartition, int, int]
"""A partition, its first offset, and the one after its last."""


@dataclass(frozen=True, slots=True)
class DeadTopic:
    """of: the topic that the records come from. topics are told without the deployment's prefix. oldest_at: as the
    record's writer had it; None where there is none. exact: whether `count` is, or is at most that."""

    topic: str
    of: str
    count: int
    exact: bool
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """reason: why `consumer`, a group, did not take it. source: where it stood: topic, partition, offset. headers: as
    they were, without those that tell of its death."""

    partition: int
    offset: int
    at: datetime
    key: str | None
    reason: str
    consumer: str
    source: str
    headers: Mapping[str, str]
    value: bytes


class DeadLetterTopics:
    """timeout: seconds that one question may take. Every method raises Unavailable."""

    def __init__(self, bootstrap: str, topic_prefix: str, timeout: float = 10.0) -> None:
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._timeout = timeout

    async def topics(self) -> list[DeadTopic]:
        """Every one there is, those of participants too; the fullest first."""
        async with self._reading() as consumer:
            ours = await self._partitions()
            # All at once: each question about a topic that the client does not know yet takes its time.
            spans = await _spans(consumer, [place for places in ours.values() for place in places])
            found = [
                await self._topic(consumer, name, [span for span in spans if span[0].topic == name])
                for name in ours
            ]
        return sorted(found, key=lambda topic: (-topic.count, topic.topic))

    async def letters(self, topic: str, after: Mapping[int, int], most: int) -> list[DeadLetter] | None:
        """The oldest `most` of each partition, after the given offsets; None where there is no such topic."""
        async with self._reading() as consumer:
            places = (await self._partitions()).get(f"{self._prefix}.{topic}")
            if places is None:
                return None
            records: list[ConsumerRecord] = []
            for place, begin, end in await _spans(consumer, places):
                further = max(begin, after.get(place.partition, -1) + 1)
                records += await _read(consumer, place, further, end, most)
        return [
            _letter(record) for record in sorted(records, key=lambda r: (r.timestamp, r.partition, r.offset))
        ]

    async def put_back(self, topic: str, partition: int, offset: int) -> str | None:
        """The record goes to where it came from, as it was; the name of that topic, None where there is no such
        record. It stays among the dead letters: Kafka's topics only grow."""
        async with self._reading() as consumer:
            place = TopicPartition(f"{self._prefix}.{topic}", partition)
            records = await _read(consumer, place, offset, offset + 1, 1) if topic.endswith(SUFFIX) else []
        if not records or records[0].offset != offset:
            return None
        record, back = records[0], f"{self._prefix}.{topic.removesuffix(SUFFIX)}"
        producer = AIOKafkaProducer(**client_options(self._bootstrap), acks="all", enable_idempotence=True)
        try:
            async with asyncio.timeout(self._timeout), producer:
                headers = [(name, value) for name, value in record.headers if name not in _OURS]
                await producer.send_and_wait(
                    back, key=record.key, value=record.value, headers=headers, partition=partition
                )
        except (KafkaError, TimeoutError, OSError) as away:
            raise Unavailable(f"{back} took no record ({away or type(away).__name__})") from away
        return back

    async def _partitions(self) -> dict[str, list[TopicPartition]]:
        """Of each dead-letter topic of the deployment. All topics are asked for: to ask for one by name makes it, on a
        broker with auto-creation."""
        admin = AIOKafkaAdminClient(**client_options(self._bootstrap))
        try:
            await admin.start()
            described = await admin.describe_topics()
        finally:
            await admin.close()
        return {
            each["topic"]: [TopicPartition(each["topic"], part["partition"]) for part in each["partitions"]]
            for each in described
            if each["topic"].startswith(f"{self._prefix}.") and each["topic"].endswith(SUFFIX)
        }

    async def _topic(self, consumer: AIOKafkaConsumer, name: str, spans: Sequence[Span]) -> DeadTopic:
        at_most = sum(end - begin for _, begin, end in spans)
        exact = at_most <= EXACT
        records = [
            record
            for place, begin, end in spans
            for record in await _read(consumer, place, begin, end, EXACT if exact else 1)
        ]
        base = name.removeprefix(f"{self._prefix}.")
        return DeadTopic(
            topic=base,
            of=base.removesuffix(SUFFIX),
            count=len(records) if exact else at_most,
            exact=exact,
            oldest_at=min(map(_at, records), default=None),
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **client_options(self._bootstrap), isolation_level="read_committed", enable_auto_commit=False
        )
        try:
            async with asyncio.timeout(self._timeout):
                await consumer.start()
                yield consumer
        except (KafkaError, TimeoutError, OSError) as away:
            raise Unavailable(
                f"Kafka at {self._bootstrap} does not tell its dead letters ({away or type(away).__name__})"
            ) from away
        finally:
            await consumer.stop()


async def _spans(consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> list[Span]:
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return [(place, begins[place], ends[place]) for place in sorted(places)]


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, end: int, most: int
) -> list[ConsumerRecord]:
    """The first `most` records from `begin` on, before `end`."""
    found: list[ConsumerRecord] = []
    if begin >= end:
        return found
    consumer.assign([place])
    consumer.seek(place, begin)
    while len(found) < most and await consumer.position(place) < end:
        records = (await consumer.getmany(place, timeout_ms=200, max_records=most)).get(place, [])
        found += [record for record in records if record.offset < end]
    return found[:most]


def _at(record: ConsumerRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _letter(record: ConsumerRecord) -> DeadLetter:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    ours = {name: headers.pop(name, "") for name in _OURS}
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        at=_at(record),
        key=None if record.key is None else record.key.decode(errors="replace"),
        reason=ours["dlqreason"],
        consumer=ours["dlqconsumer"],
        source="/".join(ours[name] for name in ("dlqtopic", "dlqpartition", "dlqoffset")),
        headers=headers,
        value=record.value or b"",
    )
