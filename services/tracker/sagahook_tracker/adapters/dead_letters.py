"""What consumers could not read, in the `*.dlq` topics, straight from Kafka: no view depends on it.

A topic only grows. So what was sent to where it came from again (redriving.py) stays among the dead letters until
retention takes it; a mark behind it in the same partition, a record without a value, tells that it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.kafka_lookup import ranges
from sagahook.saga.brokers import client_options
from sagahook_tracker.domain.dead_letters import SUFFIX, DeadLetter, asks_for_something

EXACT = 1_000
"""Records of a topic up to which they are counted one by one: the ends of transactions have offsets too."""

MARK = "dlqredriven"
"""The header of a mark: the identity of the letter."""

OURS = ("dlqreason", "dlqtopic", "dlqpartition", "dlqoffset", "dlqconsumer")
"""The headers that tell of a record's death."""

_AT_ONCE = 1_000


Span = tuple[TopicPartition, int, int]
"""A partition, its first offset, and the one after its last."""


@dataclass(frozen=True, slots=True)
class DeadTopic:
    """of: the topic that the records come from. topics are told without the deployment's prefix. count: of those that
    were not sent again; exact: whether it is, or is at most that. redriven: those that were, where it is exact.
    oldest_at: as the record's writer had it; None where there is none."""

    topic: str
    of: str
    count: int
    exact: bool
    oldest_at: datetime | None
    redriven: int = 0


@dataclass(slots=True)
class Found:
    """What a part of a topic holds. records: those that the letters were made of, in the same order."""

    letters: list[DeadLetter] = field(default_factory=list)
    records: list[ConsumerRecord] = field(default_factory=list)
    marks: dict[str, datetime] = field(default_factory=dict)

    def take(self, record: ConsumerRecord) -> None:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if MARK in headers:
            self.marks[headers[MARK]] = _at(record)
        else:
            self.letters.append(_letter(record, headers))
            self.records.append(record)

    def marked(self) -> list[DeadLetter]:
        """The letters, with what the marks say of them."""
        return [replace(each, redriven_at=self.marks.get(each.identity)) for each in self.letters]


class DeadLetterTopics:
    """timeout: seconds that one question may take. Every method raises Unavailable."""

    def __init__(self, bootstrap: str, topic_prefix: str, timeout: float = 10.0) -> None:
        self.bootstrap = bootstrap
        self.prefix = topic_prefix
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
            places = (await self._partitions()).get(f"{self.prefix}.{topic}")
            if places is None:
                return None
            letters: list[DeadLetter] = []
            # Only where letters are ever sent again there are marks to look for behind them.
            to_the_end = asks_for_something(topic.removesuffix(SUFFIX))
            for place, begin, end in await _spans(consumer, places):
                further = max(begin, after.get(place.partition, -1) + 1)
                found = await _found(consumer, (place, further, end), most, to_the_end=to_the_end)
                letters += found.marked()
        return sorted(letters, key=lambda letter: (letter.at, letter.partition, letter.offset))

    async def whole(self, topic: str) -> list[tuple[DeadLetter, ConsumerRecord]] | None:
        """Every letter with its record, in the order of partitions and offsets; None where there is no such topic."""
        async with self._reading() as consumer:
            places = (await self._partitions()).get(f"{self.prefix}.{topic}")
            if places is None:
                return None
            found = Found()
            for place, begin, end in await _spans(consumer, places):
                async for record in _read(consumer, place, begin, end):
                    found.take(record)
        return list(zip(found.marked(), found.records, strict=True))

    async def _partitions(self) -> dict[str, list[TopicPartition]]:
        """Of each dead-letter topic of the deployment. All topics are asked for: to ask for one by name makes it, on a
        broker with auto-creation."""
        admin = AIOKafkaAdminClient(**client_options(self.bootstrap))
        try:
            await admin.start()
            described = await admin.describe_topics()
        finally:
            await admin.close()
        return {
            each["topic"]: [TopicPartition(each["topic"], part["partition"]) for part in each["partitions"]]
            for each in described
            if each["topic"].startswith(f"{self.prefix}.") and each["topic"].endswith(SUFFIX)
        }

    async def _topic(self, consumer: AIOKafkaConsumer, name: str, spans: Sequence[Span]) -> DeadTopic:
        at_most = sum(end - begin for _, begin, end in spans)
        exact = at_most <= EXACT
        found = Found()
        for span in spans:
            part = await _found(consumer, span, EXACT if exact else 1, to_the_end=exact)
            found.letters += part.letters
            found.marks |= part.marks
        waiting = [letter for letter in found.marked() if letter.redriven_at is None]
        base = name.removeprefix(f"{self.prefix}.")
        return DeadTopic(
            topic=base,
            of=base.removesuffix(SUFFIX),
            count=len(waiting) if exact else at_most,
            exact=exact,
            oldest_at=min((letter.at for letter in waiting), default=None),
            redriven=len(found.letters) - len(waiting),
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **client_options(self.bootstrap), isolation_level="read_committed", enable_auto_commit=False
        )
        try:
            async with asyncio.timeout(self._timeout):
                await consumer.start()
                yield consumer
        except (KafkaError, TimeoutError, OSError) as away:
            raise Unavailable(
                f"Kafka at {self.bootstrap} does not tell its dead letters ({away or type(away).__name__})"
            ) from away
        finally:
            await consumer.stop()


async def _spans(consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> list[Span]:
    return [(place, begin, end) for place, (begin, end) in sorted((await ranges(consumer, places)).items())]


async def _found(consumer: AIOKafkaConsumer, span: Span, most: int, *, to_the_end: bool) -> Found:
    """The first `most` letters; to_the_end: and every mark behind them."""
    found = Found()
    async for record in _read(consumer, *span):
        if len(found.letters) < most or _is_mark(record):
            found.take(record)
        elif not to_the_end:
            break
    return found


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, end: int
) -> AsyncIterator[ConsumerRecord]:
    """Its records of [begin, end)."""
    if begin >= end:
        return
    consumer.assign([place])
    consumer.seek(place, begin)
    while await consumer.position(place) < end:
        polled = await consumer.getmany(place, timeout_ms=200, max_records=_AT_ONCE)
        for record in polled.get(place, ()):
            if record.offset < end:
                yield record


def _is_mark(record: ConsumerRecord) -> bool:
    return any(name == MARK for name, _ in record.headers)


def _at(record: ConsumerRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _letter(record: ConsumerRecord, headers: dict[str, str]) -> DeadLetter:
    ours = {name: headers.pop(name, "") for name in OURS}
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        at=_at(record),
        key=None if record.key is None else record.key.decode(errors="replace"),
        reason=ours["dlqreason"],
        consumer=ours["dlqconsumer"],
        source="/".join(ours[name] for name in ("dlqtopic", "dlqpartition", "dlqoffset"))
        if ours["dlqtopic"]
        else "",
        headers=headers,
        value=record.value or b"",
    )
