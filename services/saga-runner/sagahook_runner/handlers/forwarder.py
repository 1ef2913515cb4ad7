"""What the workers have in common that carry records from one partition to others and keep nothing in between."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from itertools import islice
from time import monotonic

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.inbox import Inbox
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset, Start
from sagahook.runtime.telemetry_kafka import consuming
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook_runner.handlers.pace import MANY, rests

log = get_logger(__name__)

BATCH = 500
"""Records in one transaction, at most."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes that are read for one transaction, at most (one record may be larger)."""

TRANSACTION_BYTES = 900 * 1024
"""A transaction is closed when its records reach this size."""


_REST_SECONDS = 1.0
"""After so long without a record the worker is idle."""


class PartitionForwarder(ABC):
    """See `sagahook.runtime.partition_workers.PartitionWorker` for when each method is called.

    What the records lead to is written in one transaction with how far they were read. source: the partition that is
    read; group: whose offsets.
    """

    _begins_traces = False
    """Whether a record that has no trace begins one: where work comes in."""

    def __init__(
        self, source: TopicPartition, group: str, *, writer: TransactionalWriter, offset: GroupOffset
    ) -> None:
        self._source = source
        self._group = group
        self._writer = writer
        self._offset = offset
        self._inbox = Inbox()
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._rests = rests()
        self._wake = asyncio.Event()

    @abstractmethod
    async def decide(self, records: Sequence[ConsumerRecord]) -> Sequence[list[OutRecord]]:
        """What each record leads to, in their order."""
        ...

    async def take_over(self) -> int:
        await self._writer.start()
        self._inbox.next_offset = await self._begin(await self._offset.start())
        self._may_write.set()
        return self._inbox.next_offset

    async def _begin(self, start: Start) -> int:
        """The offset to take up next. Raises OffsetsLost where nobody knows it, and the work would be done again."""
        if not start.was_committed:
            log.info("partition.read_from_its_beginning", group=self._group, partition=self._source.partition)
        return start.offset

    async def run(self) -> None:
        while True:
            await self._may_write.wait()
            if not self._inbox:
                await self._wait()
            await self._rests.over()
            async with self._writing:
                if self._may_write.is_set():
                    if self._inbox:
                        await self._forward()
                    else:
                        self._idle()

    async def _wait(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _REST_SECONDS)

    async def let_go(self) -> None:
        self._may_write.clear()
        async with self._writing:
            await self._persist_rest()

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

    @property
    def waiting_from(self) -> int | None:
        return self._inbox.first_offset

    async def _forward(self) -> None:
        """Load, decide, persist; the offsets in the transaction acknowledge."""
        began = monotonic()
        records = self._next_batch()
        with consuming(self._group, heads=self._begins_traces) as consumed:
            await self._write(records, await self.decide([consumed.take(record) for record in records]))
        self._rests.begin(began, is_behind=len(records) >= MANY)

    async def _write(self, records: Sequence[ConsumerRecord], made: Sequence[list[OutRecord]]) -> None:
        decided = deque(zip(records, made, strict=True))
        while decided:
            await self._writer.ready()
            out: list[OutRecord] = []
            taken: list[ConsumerRecord] = []
            size = 0
            while decided and size < TRANSACTION_BYTES:
                record, its_own = decided.popleft()
                taken.append(record)
                out += its_own
                size += sum(len(each.value or b"") for each in its_own)
            await self._persist(out, taken[-1].offset + 1)
            for _ in taken:
                self._inbox.popleft()

    async def _persist(self, out: Sequence[OutRecord], next_offset: int) -> None:
        await self._writer.commit(out, {self._source: next_offset}, self._group)

    def _idle(self) -> None:
        """Nothing came for a while."""
        return

    async def _persist_rest(self) -> None:
        """What `_persist` left for later, before the partition may move."""
        return

    def _next_batch(self) -> list[ConsumerRecord]:
        size = 0
        batch: list[ConsumerRecord] = []
        for record in islice(self._inbox, BATCH):
            size += len(record.value or b"")
            if batch and size > BATCH_BYTES:
                break
            batch.append(record)
        return batch
