"""The router of one partition of `webhooks.received`: which sagas does each webhook ask for?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset, OffsetsLost, Start
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner import metrics
from sagahook_runner.adapters.marks import Mark, last_mark, told_from
from sagahook_runner.adapters.opening import opened, seal_routed
from sagahook_runner.adapters.records import RouteRecords, Stamp, dead_letter
from sagahook_runner.adapters.snapshots import read_partition, snapshot_consumer
from sagahook_runner.adapters.triggers import Triggers, Webhook
from sagahook_runner.domain.firsts import FirstRecords
from sagahook_runner.handlers.forwarder import PartitionForwarder
from sagahook_runner.handlers.handing import Handing
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.envelope import Envelope, InvalidEnvelope
from sagahook_schemas.topics import SAGA_COMMANDS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

log = get_logger(__name__)


class PartitionRouter(PartitionForwarder):
    """For one partition of `webhooks.received`."""

    _begins_traces = True

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        triggers: Triggers,
        writer: TransactionalWriter,
        offset: GroupOffset,
        clock: Clock,
        partitions: int,
        handing: Handing,
        keys: DataKeys | None = None,
    ) -> None:
        source = TopicPartition(settings.topic(WEBHOOKS_RECEIVED), partition)
        super().__init__(source, settings.router_group, writer=writer, offset=offset)
        self._partition = partition
        self._partitions = partitions
        self._keys = keys
        self._handing = handing
        self._settings = settings
        self._triggers = triggers
        self._clock = clock
        self._firsts = FirstRecords()
        self._commands = settings.topic(SAGA_COMMANDS)
        self._routed = TopicPartition(settings.topic(WEBHOOKS_ROUTED), partition)
        self._mark = Mark(source, self._routed, writer, settings.router_group, offset)

    async def _begin(self, start: Start) -> int:
        """What was routed after the group was told of it last, the log of it says, to which nobody else adds now."""
        await self._writer.claim(self._routed)
        consumer = snapshot_consumer(self._settings.kafka)
        try:
            await consumer.start()
            await look_up(consumer, [self._routed])
            if not start.was_committed:
                await self._begin_anew(consumer)
            end = (await consumer.end_offsets([self._routed]))[self._routed]
            told = told_from(start)
            taken = None
            async for records in read_partition(consumer, self._routed, end if told is None else told):
                taken = last_mark(records, taken)
        finally:
            await consumer.stop()
        await super()._begin(start)
        next_offset = self._mark.begin(start, taken, end)
        if not start.was_committed:
            await self._mark.tell_the_group()  # its offset must never be unknown once something was routed
        return next_offset

    async def _persist(self, out: Sequence[OutRecord], next_offset: int) -> None:
        """The starts go ahead of what says that the webhooks were routed: to owners of this process, or by the log
        (docs/decisions/0034, 0039)."""
        starts = await self._handing.over([each for each in out if each.topic == self._commands])
        told = [each for each in out if each.topic != self._commands]
        await self._mark.write(told, next_offset, ahead=starts)
        self._mark.tell_now_and_then()

    def _idle(self) -> None:
        self._mark.tell_now_and_then()

    async def _persist_rest(self) -> None:
        if not self._mark.is_told:
            await self._mark.tell_the_group()

    async def close(self) -> None:
        self._mark.close()
        await super().close()

    async def _begin_anew(self, consumer: AIOKafkaConsumer) -> None:
        """Sagas that are forgotten would start once more."""
        first = (await consumer.beginning_offsets([self._routed]))[self._routed]
        # A router that died in its first transaction has left markers, and committed nothing.
        if first > 0 or await anext(read_partition(consumer, self._routed), None) is not None:
            raise OffsetsLost(
                f"partition {self._partition} of {self._source.topic} was routed before, but the group {self._group} "
                "has no offset for it (Kafka forgets those of a group that was empty for a week): set the group's "
                "offset to the last webhook that was routed, then start the runner"
            )

    async def decide(self, records: Sequence[ConsumerRecord]) -> list[list[OutRecord]]:
        stamp = Stamp(self._clock.now())
        encoder = RouteRecords(self._settings, self._partition, self._partitions, stamp)
        webhooks: dict[int, Webhook] = {}
        decided: dict[int, list[OutRecord]] = {}
        for record in records:
            try:
                envelope = Envelope.from_headers(record.headers)
            except InvalidEnvelope as refused:
                log.warning("webhook.refused", offset=record.offset, reason=str(refused))
                topic = self._settings.topic(WEBHOOKS_RECEIVED.dead_letters)
                letter = dead_letter(topic, record, self._partition, str(refused), stamp.milliseconds)
                decided[record.offset] = [letter]
            else:
                verdict = self._firsts.judge(record.offset, envelope)
                webhook = Webhook(envelope, record.value or b"", verdict.first, verdict.refused)
                webhooks[record.offset] = webhook
                if webhook.data_key:
                    webhooks[record.offset] = await opened(webhook, self._keys)
        outcomes: Counter[str] = Counter()
        routes = await self._triggers.evaluate(list(webhooks.values()))
        for offset, route in zip(webhooks, routes, strict=True):
            received = route.webhook.envelope
            starts = [encoder.start(received, saga_id, request) for saga_id, request in route.starts]
            told = encoder.routed(received, route.routed)
            decided[offset] = [*starts, seal_routed(told, route.webhook, self._keys)]
            outcomes[route.routed.outcome] += 1
        for outcome, count in outcomes.items():
            metrics.WEBHOOKS_ROUTED.labels(outcome).inc(count)
        return [decided[record.offset] for record in records]
