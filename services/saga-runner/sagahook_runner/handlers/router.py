"""The router of one partition of `webhooks.received`: which sagas does each webhook ask for?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.inbox import Inbox
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partitions import StartOffset
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner import metrics
from sagahook_runner.adapters.records import RouteRecords, Stamp, dead_letter
from sagahook_runner.adapters.triggers import Triggers, Webhook
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.envelope import Envelope, InvalidEnvelope
from sagahook_schemas.topics import WEBHOOKS_RECEIVED

log = get_logger(__name__)

BATCH = 500
"""Webhooks in one transaction, at most."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of bodies in one transaction, at most (one body may be larger)."""

TRANSACTION_BYTES = 900 * 1024
"""A transaction is closed when its records reach this size."""


class PartitionRouter:
    """See `sagahook.runtime.partitions.PartitionWorker` for when each method is called.

    It keeps nothing between transactions, so that letting go is no more than ending the current one.
    """

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        triggers: Triggers,
        writer: TransactionalWriter,
        start_offset: StartOffset,
        clock: Clock,
        partitions: int,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._settings = settings
        self._triggers = triggers
        self._writer = writer
        self._start_offset = start_offset
        self._clock = clock
        self._source = TopicPartition(settings.topic(WEBHOOKS_RECEIVED), partition)
        self._inbox = Inbox()
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()

    async def take_over(self) -> int:
        await self._writer.start()
        self._inbox.next_offset, _ = await self._start_offset()
        self._may_write.set()
        return self._inbox.next_offset

    async def run(self) -> None:
        while True:
            await self._may_write.wait()
            if not self._inbox:
                self._wake.clear()
                await self._wake.wait()
            async with self._writing:
                if self._may_write.is_set() and self._inbox:
                    await self._route()

    async def let_go(self) -> None:
        self._may_write.clear()
        async with self._writing:
            return

    def resume(self) -> None:
        self._may_write.set()
        self._wake.set()

    async def close(self) -> None:
        self._may_write.clear()
        await self._writer.abandon()

    def deliver(self, records: Sequence[ConsumerRecord]) -> None:
        self._inbox.extend(records)
        self._wake.set()

    @property
    def is_full(self) -> bool:
        return self._inbox.is_full

    @property
    def next_offset(self) -> int:
        return self._inbox.next_offset

    async def _route(self) -> None:
        """Load, decide, persist; the offsets in the transaction acknowledge."""
        records = self._next_batch()
        stamp = Stamp(self._clock.now())
        decided = deque(zip(records, await self._decide(records, stamp), strict=True))
        while decided:
            await self._writer.ready()
            out: list[OutRecord] = []
            taken: list[ConsumerRecord] = []
            size = 0
            while decided and size < TRANSACTION_BYTES:
                record, routed = decided.popleft()
                taken.append(record)
                out += routed
                size += sum(len(each.value or b"") for each in routed)
            offsets = {self._source: taken[-1].offset + 1}
            await self._writer.commit(out, offsets, self._settings.router_group)
            for _ in taken:
                self._inbox.popleft()

    async def _decide(self, records: Sequence[ConsumerRecord], stamp: Stamp) -> list[list[OutRecord]]:
        """What each record leads to, in their order."""
        encoder = RouteRecords(self._settings, self._partition, self._partitions, stamp)
        webhooks: dict[int, Webhook] = {}
        decided: dict[int, list[OutRecord]] = {}
        for record in records:
            try:
                webhooks[record.offset] = Webhook(Envelope.from_headers(record.headers), record.value or b"")
            except InvalidEnvelope as refused:
                log.warning("webhook.refused", offset=record.offset, reason=str(refused))
                topic = self._settings.topic(WEBHOOKS_RECEIVED.dead_letters)
                letter = dead_letter(topic, record, self._partition, str(refused), stamp.milliseconds)
                decided[record.offset] = [letter]
        routes = await self._triggers.evaluate(list(webhooks.values()))
        for offset, route in zip(webhooks, routes, strict=True):
            received = route.webhook.envelope
            starts = [encoder.start(received, saga_id, request) for saga_id, request in route.starts]
            decided[offset] = [*starts, encoder.routed(received, route.routed)]
            metrics.WEBHOOKS_ROUTED.labels(route.routed.outcome).inc()
        return [decided[record.offset] for record in records]

    def _next_batch(self) -> list[ConsumerRecord]:
        size = 0
        batch: list[ConsumerRecord] = []
        for record in islice(self._inbox, BATCH):
            size += len(record.value or b"")
            if batch and size > BATCH_BYTES:
                break
            batch.append(record)
        return batch
