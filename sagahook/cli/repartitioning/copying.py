"""Copies one generation of topics into another, topic by topic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from sagahook.cli.repartitioning.generation import Generation
from sagahook.cli.repartitioning.reading import Ranges, read_by_time
from sagahook.cli.repartitioning.rules import (
    COMMANDS_ABOUT_WEBHOOKS,
    home_of,
    stays_behind,
    value_of,
    webhook_named,
)
from sagahook.cli.repartitioning.taken import Offsets, Taken
from sagahook.cli.repartitioning.writing import TopicWriter
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_STATE, WEBHOOKS_RECEIVED, Topic


@dataclass(slots=True)
class Copied:
    """writers: by the topics' base names. groups: by group, the offset in each new partition from which on it takes.
    owners: by old partition, the newest of its owner's records. latest: the newest time in `saga.events` and
    `saga.state`, epoch milliseconds."""

    writers: dict[str, TopicWriter] = field(default_factory=dict)
    groups: dict[str, Offsets] = field(default_factory=lambda: defaultdict(dict))
    owners: dict[int, OwnerRecord] = field(default_factory=dict)
    latest: int = 0


class Copying:
    """readers: the offsets of those who read a topic at least once, by group; the notifier is one of them."""

    def __init__(
        self,
        log: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        old: Generation,
        new: Generation,
        taken: Taken,
        readers: Mapping[str, Offsets],
    ) -> None:
        self._log = log
        self._producer = producer
        self._old = old
        self._new = new
        self._taken = taken
        self._readers = readers
        self._named: set[str] = set()
        self._positions: dict[str, int] = {}
        self.copied = Copied()

    async def find_named_webhooks(self) -> None:
        """Those whose new positions commands need. Before anything is copied."""
        for topic in self._old.topics:
            if topic.base in COMMANDS_ABOUT_WEBHOOKS:
                async for records in read_by_time(self._log, self._whole(topic)):
                    self._named |= {event_id for each in records if (event_id := webhook_named(each))}

    async def copy(self, topic: Topic) -> TopicWriter:
        """Where a group takes each record once, what it has taken goes before what it has not: its new offset is where
        the one ends and the other begins. Raises Refused, KafkaError."""
        writer = TopicWriter(self._producer, self._new.name(topic), self._new.partitions)
        self.copied.writers[topic.base] = writer
        exactly = self._taken.of(self._old.name(topic))
        if exactly is None:
            await self._copy(topic, writer, self._whole(topic))
        else:
            group, offsets = exactly
            places = self._old.places(topic)
            await self._copy(
                topic, writer, {each: (self._old.begins[each], offsets[each]) for each in places}
            )
            self.copied.groups[group] |= self._places(topic, writer.ends)
            await self._copy(topic, writer, {each: (offsets[each], self._old.ends[each]) for each in places})
        await writer.flush()
        for group, _ in self._reading(topic):
            for place, end in self._places(topic, writer.ends).items():
                self.copied.groups[group].setdefault(place, end)
        return writer

    async def _copy(self, topic: Topic, writer: TopicWriter, ranges: Ranges) -> None:
        reading = list(self._reading(topic))
        async for records in read_by_time(self._log, ranges):
            for record in records:
                if stays_behind(topic, record.key):
                    self._keep(topic, record)
                    continue
                if topic in (SAGA_EVENTS, SAGA_STATE):
                    self.copied.latest = max(self.copied.latest, record.timestamp)
                await self._put(topic, writer, record, reading)

    async def _put(
        self, topic: Topic, writer: TopicWriter, record: ConsumerRecord, reading: list[tuple[str, Offsets]]
    ) -> None:
        home = home_of(topic, record, self._new.partitions)
        value = value_of(topic, record, self._positions)
        offset = await writer.put(home, record.key, value, record.headers, record.timestamp)
        if (
            topic is WEBHOOKS_RECEIVED
            and self._named
            and (event_id := (record.key or b"").decode()) in self._named
        ):
            self._positions[event_id] = offset
        for group, offsets in reading:
            place = TopicPartition(record.topic, record.partition)
            if record.offset >= offsets.get(place, 0):
                new = TopicPartition(self._new.name(topic), home)
                self.copied.groups[group].setdefault(new, offset)

    def _keep(self, topic: Topic, record: ConsumerRecord) -> None:
        self.copied.latest = max(self.copied.latest, record.timestamp)
        if topic is SAGA_STATE:
            self.copied.owners[record.partition] = OwnerRecord.from_record(record)

    def _reading(self, topic: Topic) -> Iterator[tuple[str, Offsets]]:
        """Those who go on at the first record that they have not read; what they have read behind it, they read
        again."""
        name = self._old.name(topic)
        for group, offsets in self._readers.items():
            mine = {place: offset for place, offset in offsets.items() if place.topic == name}
            if mine:
                yield group, mine

    def _whole(self, topic: Topic) -> Ranges:
        return {each: (self._old.begins[each], self._old.ends[each]) for each in self._old.places(topic)}

    def _places(self, topic: Topic, ends: list[int]) -> Offsets:
        return {place: ends[place.partition] for place in self._new.places(topic)}
