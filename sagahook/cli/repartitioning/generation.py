"""A generation of topics as Kafka has it, and the readers that look into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.topic_plan import Found
from sagahook.saga.brokers import client_options
from sagahook_schemas.topics import BODY_LIMIT, Topic

FETCH_BYTES = 4 * 1024 * 1024


class Refused(Exception):
    """Call an operator: nothing that is there was changed, and the text says what to do."""


@dataclass(frozen=True, slots=True)
class Generation:
    """topics: all there are, with those of participants. found: by full name. begins, ends: of each partition, as
    readers of committed records see them; empty until they were asked for."""

    bootstrap: str
    prefix: str
    partitions: int
    topics: tuple[Topic, ...]
    found: Mapping[str, Found] = field(default_factory=dict)
    begins: Mapping[TopicPartition, int] = field(default_factory=dict)
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)

    def name(self, topic: Topic) -> str:
        return topic.name(self.prefix)

    def places(self, *topics: Topic) -> list[TopicPartition]:
        """The partitions of the topics; none given: of all."""
        return [
            TopicPartition(self.name(topic), number)
            for topic in topics or self.topics
            for number in range(self.partitions)
        ]

    def offsets(self, topic: Topic) -> int:
        """How many the topic has, over all partitions: of records, and of the ends of transactions."""
        return sum(self.ends[place] - self.begins[place] for place in self.places(topic))

    async def measured(self, log: AIOKafkaConsumer) -> Generation:
        """With begins and ends as of now. Raises Refused where a transaction is open, KafkaError."""
        places = self.places()
        async with AIOKafkaConsumer(**client_options(self.bootstrap), enable_auto_commit=False) as everything:
            for consumer in (log, everything):
                await look_up(consumer, places)
            begins, ends = await log.beginning_offsets(places), await log.end_offsets(places)
            written = await everything.end_offsets(places)
        for place in places:
            if written[place] > ends[place]:
                raise Refused(
                    f"a transaction is open on {place.topic}, partition {place.partition}: somebody writes, or died "
                    "writing. Stop all services and participants, wait a minute, and say it again"
                )
        return replace(self, begins=begins, ends=ends)


@asynccontextmanager
async def open_log(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of committed records, without a group. Raises KafkaError, OSError."""
    consumer = AIOKafkaConsumer(
        **client_options(bootstrap),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_bytes=2 * BODY_LIMIT,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
