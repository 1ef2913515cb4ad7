"""The router of one partition of `webhooks.received`: which sagas does each webhook ask for?"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
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

INBOX_LIMIT = 2_000


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
        self._inbox: deque[ConsumerRecord] = deque()
        self._delivered = 0
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()

    async def take_over(self) -> int:
        await self._writer.start()
        self._delivered = await self._start_offset()
        self._may_write.set()
        return self._delivered

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
        self._delivered = records[-1].offset + 1
        self._wake.set()

    @property
    def is_full(self) -> bool:
        return len(self._inbox) >= INBOX_LIMIT

    @property
    def next_offset(self) -> int:
        return self._delivered

    async def _route(self) -> None:
        """Load, decide, persist; the offsets in the transaction acknowledge."""
        await self._writer.ready()
        records = self._next_batch()
        stamp = Stamp(self._clock.now())
        webhooks: list[Webhook] = []
        out: list[OutRecord] = []
        for record in records:
            try:
                webhooks.append(Webhook(Envelope.from_headers(record.headers), record.value or b""))
            except InvalidEnvelope as refused:
                log.warning("webhook.refused", offset=record.offset, reason=str(refused))
                topic = self._settings.topic(WEBHOOKS_RECEIVED.dead_letters)
                out.append(dead_letter(topic, record, self._partition, str(refused), stamp.milliseconds))
        outcomes: Counter[str] = Counter()
        encoder = RouteRecords(self._settings, self._partition, self._partitions, stamp)
        for route in await self._triggers.evaluate(webhooks):
            received = route.webhook.envelope
            out.extend(encoder.start(received, saga_id, request) for saga_id, request in route.starts)
            out.append(encoder.routed(received, route.routed))
            outcomes[route.routed.outcome] += 1
        await self._writer.commit(out, {self._source: records[-1].offset + 1}, self._settings.router_group)
        for _ in records:
            self._inbox.popleft()
        for outcome, count in outcomes.items():
            metrics.WEBHOOKS_ROUTED.labels(outcome).inc(count)

    def _next_batch(self) -> list[ConsumerRecord]:
        size = 0
        batch: list[ConsumerRecord] = []
        for record in islice(self._inbox, BATCH):
            size += len(record.value or b"")
            if batch and size > BATCH_BYTES:
                break
            batch.append(record)
        return batch
