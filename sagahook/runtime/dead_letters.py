"""Where a consumer puts a record that it cannot read: kept whole, with the reason, to be put back by hand."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.logging import get_logger
from sagahook.saga.brokers import client_options
from sagahook_schemas.topics import BODY_LIMIT, TOPICS

log = get_logger(__name__)


class DeadLetters(Protocol):
    async def put(self, record: ConsumerRecord, reason: str) -> None:
        """Returns once Kafka has the record durably; only then may its offset move. Raises Unavailable.

        A crash between the two puts it there twice: `dlqtopic`, `dlqpartition` and `dlqoffset` tell.
        """
        ...


class KafkaDeadLetters:
    """To the topic's dead-letter topic and the same partition: key, value and headers as they were, and the
    headers `dlqreason`, `dlqtopic`, `dlqpartition`, `dlqoffset` and `dlqconsumer` (the reader's group).

    It connects when the first record comes, which in a healthy system is never.
    """

    def __init__(self, bootstrap: str, topic_prefix: str, consumer: str) -> None:
        self._bootstrap = bootstrap
        self._consumer = consumer
        self._topics = {topic.name(topic_prefix): topic.dead_letters.name(topic_prefix) for topic in TOPICS}
        self._producer: AIOKafkaProducer | None = None

    async def put(self, record: ConsumerRecord, reason: str) -> None:
        headers = [
            *record.headers,
            ("dlqreason", reason.encode()),
            ("dlqtopic", record.topic.encode()),
            ("dlqpartition", b"%d" % record.partition),
            ("dlqoffset", b"%d" % record.offset),
            ("dlqconsumer", self._consumer.encode()),
        ]
        try:
            producer = await self._connected()
            await producer.send_and_wait(
                self._topics[record.topic],
                key=record.key,
                value=record.value,
                headers=headers,
                partition=record.partition,
            )
        except KafkaError as away:
            raise Unavailable(f"the dead-letter topic of {record.topic} took no record: {away!r}") from away
        log.warning(
            "record.dead_lettered",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
        )

    async def close(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError):
                await self._producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_options(self._bootstrap),
                acks="all",
                enable_idempotence=True,
                max_request_size=BODY_LIMIT + 1024 * 1024,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer
