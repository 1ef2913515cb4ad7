"""Routes webhooks once more that operators ask for (`webhooks.commands`): each saga that they ask for runs anew.

The event stays the same one, and so do the sagas' ids: what is new is their run, which names the command. The body is
read from the log, where it lies as it was received.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner import metrics
from sagahook_runner.adapters.opening import opened, seal_routed
from sagahook_runner.adapters.reach import reach
from sagahook_runner.adapters.received import ReceivedLog
from sagahook_runner.adapters.records import RouteRecords, Stamp, dead_letter
from sagahook_runner.adapters.triggers import Triggers, Webhook
from sagahook_runner.handlers.forwarder import PartitionForwarder
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.commands import ReprocessWebhook
from sagahook_schemas.envelope import Envelope, InvalidEnvelope
from sagahook_schemas.topics import WEBHOOKS_COMMANDS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from sagahook_schemas.webhooks import WebhookRouted

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

log = get_logger(__name__)

_REMEMBERED = 10_000
"""Commands by which a duplicate is known. After a take-over none is; the sagas' owners then know the last of each."""


class Reprocessor(PartitionForwarder):
    """For one partition of `webhooks.commands`."""

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        triggers: Triggers,
        received: ReceivedLog,
        writer: TransactionalWriter,
        offset: GroupOffset,
        clock: Clock,
        partitions: int,
        keys: DataKeys | None = None,
    ) -> None:
        source = TopicPartition(settings.topic(WEBHOOKS_COMMANDS), partition)
        super().__init__(source, settings.reprocess_group, writer=writer, offset=offset)
        self._partition = partition
        self._partitions = partitions
        self._keys = keys
        self._settings = settings
        self._triggers = triggers
        self._received = received
        self._clock = clock
        self._known: OrderedDict[str, int] = OrderedDict()
        """Where each command came first, by its id."""

    async def decide(self, records: Sequence[ConsumerRecord]) -> list[list[OutRecord]]:
        stamp = Stamp(self._clock.now())
        encoder = RouteRecords(self._settings, self._partition, self._partitions, stamp)
        return [await self._decide(record, encoder, stamp) for record in records]

    async def _decide(self, record: ConsumerRecord, encoder: RouteRecords, stamp: Stamp) -> list[OutRecord]:
        try:
            asked, command = _read(record)
        except (InvalidEnvelope, Undecodable) as refused:
            log.warning("reprocess.refused", offset=record.offset, reason=str(refused))
            topic = self._settings.topic(WEBHOOKS_COMMANDS.dead_letters)
            return [dead_letter(topic, record, self._partition, str(refused), stamp.milliseconds)]
        if self._is_repeated(asked.id, record.offset):
            return []
        webhook = await self._webhook(command)
        if webhook is None:
            routed = _lost(asked, command)
            metrics.WEBHOOKS_ROUTED.labels(routed.outcome).inc()
            return [encoder.routed(asked._replace(id=command.event_id), routed, asked.id)]
        (route,) = await self._triggers.evaluate([webhook])
        metrics.WEBHOOKS_ROUTED.labels(route.routed.outcome).inc()
        again = {"again": True, "reprocess": asked.id}
        starts = [
            encoder.start(webhook.envelope, saga_id, start.model_copy(update=again), asked.id)
            for saga_id, start in route.starts
        ]
        told = encoder.routed(
            webhook.envelope, route.routed.model_copy(update={"reprocess": asked.id}), asked.id
        )
        return [*starts, seal_routed(told, webhook, self._keys)]

    def _is_repeated(self, command_id: str, offset: int) -> bool:
        first = self._known.setdefault(command_id, offset)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return first < offset

    async def _webhook(self, command: ReprocessWebhook) -> Webhook | None:
        """None where the log does not have it, or no longer. Raises KafkaError, OSError, TimeoutError."""
        record = await self._received.read(self._partition, command.offset)
        if record is None:
            return None
        try:
            envelope = Envelope.from_headers(record.headers)
        except InvalidEnvelope:
            return None
        if envelope.id != command.event_id:
            return None
        webhook = Webhook(envelope, record.value or b"")
        return await opened(webhook, self._keys) if webhook.data_key else webhook


def _read(record: ConsumerRecord) -> tuple[Envelope, ReprocessWebhook]:
    """Raises InvalidEnvelope, Undecodable."""
    envelope, command = decode(record.headers, record.value)
    if not isinstance(command, ReprocessWebhook):
        raise Undecodable(f"{envelope.type} is no command about a webhook")
    return envelope, command


def _lost(asked: Envelope, command: ReprocessWebhook) -> WebhookRouted:
    return WebhookRouted(
        source=asked.extension("webhooksource"),
        outcome="failed",
        reason=f"it cannot be reprocessed: {WEBHOOKS_RECEIVED.base} no longer has the event {command.event_id} at the "
        f"offset {command.offset}",
        reprocess=asked.id,
    )


class ReprocessorsHost:
    """Makes those of this process."""

    def __init__(
        self,
        settings: RunnerSettings,
        triggers: Triggers,
        clock: Clock,
        partitions: int,
        keys: DataKeys | None = None,
    ) -> None:
        self._keys = keys
        self._settings = settings
        self._triggers = triggers
        self._clock = clock
        self._partitions = partitions
        self._received = ReceivedLog(settings.kafka, settings.topic(WEBHOOKS_RECEIVED))

    def worker(self, partition: int, offset: GroupOffset) -> Reprocessor:
        # A stable id: whoever starts under it fences the last.
        group = self._settings.reprocess_group
        written = (WEBHOOKS_ROUTED, WEBHOOKS_COMMANDS.dead_letters)
        where = reach(self._settings, group, written, partition=partition, partitions=self._partitions)
        writer = TransactionalWriter(self._settings.kafka, f"{group}-{partition}", reach=where)
        return Reprocessor(
            partition,
            settings=self._settings,
            triggers=self._triggers,
            received=self._received,
            writer=writer,
            offset=offset,
            clock=self._clock,
            partitions=self._partitions,
            keys=self._keys,
        )

    def moved(self, partition: int) -> None:
        """It leaves nothing behind."""

    async def drain(self) -> None:
        await self._received.close()
