"""Brings the replies of participants to the owners of their sagas.

A participant's own client chose the partition of its reply, by whatever it hashes keys with; the owner reads only its
own partition of `saga.commands`. So each reply is forwarded there, once, in a transaction with its offset.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner.adapters.participants import completion
from sagahook_runner.adapters.reach import reach
from sagahook_runner.adapters.records import Stamp, dead_letter
from sagahook_runner.handlers.forwarder import PartitionForwarder
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.topics import SAGA_REPLIES

log = get_logger(__name__)


def replies_group(settings: ServiceSettings) -> str:
    return f"{settings.topic_prefix}-replies"


class ReplyForwarder(PartitionForwarder):
    """For one partition of `saga.replies`."""

    def __init__(
        self,
        partition: int,
        *,
        settings: ServiceSettings,
        writer: TransactionalWriter,
        offset: GroupOffset,
        clock: Clock,
        partitions: int,
    ) -> None:
        source = TopicPartition(settings.topic(SAGA_REPLIES), partition)
        super().__init__(source, replies_group(settings), writer=writer, offset=offset)
        self._settings = settings
        self._clock = clock
        self._partitions = partitions

    async def decide(self, records: Sequence[ConsumerRecord]) -> list[list[OutRecord]]:
        stamp = Stamp(self._clock.now())
        return [[self._forwarded(record, stamp)] for record in records]

    def _forwarded(self, record: ConsumerRecord, stamp: Stamp) -> OutRecord:
        try:
            return completion(self._settings, record, self._partitions, stamp)
        except Undecodable as refused:
            log.warning(
                "reply.refused", partition=record.partition, offset=record.offset, reason=str(refused)
            )
            topic = self._settings.topic(SAGA_REPLIES.dead_letters)
            return dead_letter(topic, record, record.partition, str(refused), stamp.milliseconds)


class RepliesHost:
    """Makes the reply forwarders of this process."""

    def __init__(self, settings: ServiceSettings, clock: Clock, partitions: int) -> None:
        self._settings = settings
        self._clock = clock
        self._partitions = partitions

    def worker(self, partition: int, offset: GroupOffset) -> ReplyForwarder:
        # A stable id: whoever starts under it fences the last.
        group = replies_group(self._settings)
        written = (SAGA_REPLIES.dead_letters,)
        where = reach(self._settings, group, written, partition=partition, partitions=self._partitions)
        writer = TransactionalWriter(self._settings.kafka, f"{group}-{partition}", reach=where)
        return ReplyForwarder(
            partition,
            settings=self._settings,
            writer=writer,
            offset=offset,
            clock=self._clock,
            partitions=self._partitions,
        )

    def moved(self, partition: int) -> None:
        """A forwarder leaves nothing behind."""

    async def drain(self) -> None:
        """A forwarder's transaction is never long."""
