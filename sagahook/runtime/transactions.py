"""Kafka transactions under a stable id: one call writes records and offsets, all or nothing.

Fencing rests wholly on the transactional id (docs/decisions/0003): whoever starts a `TransactionalWriter` under
an id shuts out every earlier writer of that id, alive, stalled or dead, and aborts what it left open. Where one batch
of records is all there is to write, it needs no transaction to be all or nothing (docs/decisions/0031).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import OffsetAndMetadata

from sagahook.runtime.appends import Appends, Batches
from sagahook.runtime.settling import Settling, end_without_records
from sagahook.runtime.undecided import Reach
from sagahook.saga.brokers import client_options
from sagahook_schemas.envelope import Header

TRANSACTION_TIMEOUT_MS = 10_000
"""After so long the broker itself aborts what a dead writer left open."""

MAX_BATCH_BYTES = 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
"""Longer than a commit may take, so that aiokafka repeats no request of a transaction that is still waited for."""

_SMALLEST_GAP = 0.003
"""Seconds between two transactions of one writer. The broker still writes the markers of the last one when its
answer arrives, and tells a transaction that begins at once CONCURRENT_TRANSACTIONS. And what gathers meanwhile costs
no transaction of its own: on two cores this gap gave a shorter way from start to end than 1, 4 or 8 ms."""

sender.BACKOFF_OVERRIDE = 0.002
"""How long aiokafka waits after CONCURRENT_TRANSACTIONS; its own 20 ms are many times what the markers take."""

_FENCES = (
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)


class OwnershipLost(Exception):
    """Discard what is in memory; take over anew only once the group confirms the assignment."""


class Fenced(OwnershipLost):
    """Another writer has this transactional id: this one can write no more."""


class CommitUnknown(OwnershipLost):
    """Whether the transaction was committed is not known. Only a new writer under the same id can tell, since
    its start settles every earlier transaction."""


class OutRecord(NamedTuple):
    """A record on its way out. timestamp_ms: epoch milliseconds. value None: a tombstone."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int


class TransactionalWriter:
    """The only writer under its transactional id. After any failure it is of no more use: `abandon` it.

    reach: where to make up for markers that Kafka left out of the last transaction; without it, nowhere.
    """

    def __init__(
        self,
        bootstrap: str,
        transactional_id: str,
        *,
        commit_timeout: float = 8.0,
        reach: Reach | None = None,
    ) -> None:
        self.transactional_id = transactional_id
        self._commit_timeout = commit_timeout
        self._producer = AIOKafkaProducer(
            **client_options(bootstrap),
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=2 * MAX_BATCH_BYTES,
            # The default of 100 ms turns the broker's passing NOT_ENOUGH_REPLICAS, with which it answers a
            # partition's first record in a transaction, into a stall.
            retry_backoff_ms=2,
        )
        self._loop = asyncio.get_running_loop()
        self._ended_at = 0.0
        self._alone_in: TopicPartition | None = None
        self._appends = Appends(self._producer, REQUEST_TIMEOUT_MS)
        self._before = Settling(self._producer, transactional_id, reach)
        self._disturbed: Exception | None = None
        self._send_request = self._producer.client.send
        self._producer.client.send = self._send_and_notice

    async def start(self) -> None:
        """Fence every earlier writer of this id and abort what it left open.

        Raises OwnershipLost where the broker cannot be reached in time, or where something had to be made up for:
        only the next start, which waits for the markers, comes upon a settled log.
        """
        try:
            async with asyncio.timeout(self._commit_timeout):
                await self._producer.start()
                left = await self._before.left_open()
            if left:
                async with asyncio.timeout(self._commit_timeout):
                    await self._before.settle(left)
        except (TimeoutError, KafkaError, OSError, AssertionError) as failure:
            raise OwnershipLost(f"cannot start under {self.transactional_id}: {failure!r}") from failure
        if left:
            raise OwnershipLost(f"{self.transactional_id} has just ended what Kafka had left undecided")
        self._before.forget()

    async def ready(self) -> None:
        """Wait until a transaction may begin. What gathers meanwhile goes with it."""
        gap = _SMALLEST_GAP - (self._loop.time() - self._ended_at)
        if gap > 0:
            await asyncio.sleep(gap)

    def alone_in(self, partition: TopicPartition) -> None:
        """From now on a batch for the partition may be written without a transaction. Only to be called when this
        writer has written there since its start, and what it wrote came right behind what its user knows: so Kafka
        refuses there whatever an earlier writer of the same id sends, and nothing of it came in between."""
        self._alone_in = partition

    async def claim(self, partition: TopicPartition) -> None:
        """Make Kafka refuse in the partition what an earlier writer of the same id may still send, and write batches
        there without a transaction from now on. What an earlier one has written can be read when this returns.

        The end of a transaction without records tells the partition this writer's epoch. That end is written after the
        commit is answered; but no transaction begins before that of the last one is written. Raises OwnershipLost.
        """
        try:
            for _ in range(2):
                async with asyncio.timeout(self._commit_timeout):
                    await end_without_records(self._producer, [partition], commit=True)
        except (TimeoutError, KafkaError, OSError, AssertionError) as failure:
            raise OwnershipLost(f"{self.transactional_id} cannot claim {partition}: {failure!r}") from failure
        self._alone_in = partition

    async def commit(
        self,
        records: Sequence[OutRecord],
        offsets: Mapping[TopicPartition, int | OffsetAndMetadata],
        group: str,
        *,
        ahead: Sequence[OutRecord] = (),
    ) -> dict[TopicPartition, int]:
        """Write the records and the group's offsets (the next to read), all or nothing.

        ahead: what must not be missing once they are written, and does no harm without them or when it comes twice. It
        is written with them, or before them. Returns the offset behind the last record in each of their partitions.
        Raises Fenced or CommitUnknown.
        """
        if self._disturbed is not None:
            raise CommitUnknown(f"{self.transactional_id} has failed before: {self._disturbed!r}")
        await self.ready()
        alone = None if offsets else self._alone(records, ahead)
        try:
            async with asyncio.timeout(self._commit_timeout):
                if alone is None:
                    ends = await self._transact([*ahead, *records], offsets, group)
                else:
                    for batches in alone:
                        ends = await self._appends.write(batches)
            if self._disturbed is not None:
                raise self._disturbed
        except _FENCES as fenced:
            self._disturbed = fenced
            raise Fenced(f"{self.transactional_id} belongs to another writer: {fenced!r}") from fenced
        except (TimeoutError, KafkaError, OSError, AssertionError) as failure:
            # aiokafka answers a call in the wrong state of its transaction with an assertion.
            self._disturbed = failure
            raise CommitUnknown(f"a commit of {self.transactional_id} failed: {failure!r}") from failure
        return ends

    async def _transact(
        self,
        records: Iterable[OutRecord],
        offsets: Mapping[TopicPartition, int | OffsetAndMetadata],
        group: str,
    ) -> dict[TopicPartition, int]:
        await self._producer.begin_transaction()
        sent = await self._send(records)
        if offsets:
            await self._producer.send_offsets_to_transaction(dict(offsets), group)
        # aiokafka would commit what is left when a batch failed: every batch must have arrived.
        arrived = await asyncio.gather(*(arrival for _, arrival in sent))
        await self._producer.commit_transaction()
        self._ended_at = self._loop.time()
        ends: dict[TopicPartition, int] = {}
        for (size, _), batch in zip(sent, arrived, strict=True):
            ends[batch.topic_partition] = max(ends.get(batch.topic_partition, 0), batch.offset + size)
        return ends

    def _alone(self, records: Sequence[OutRecord], ahead: Sequence[OutRecord]) -> list[Batches] | None:
        """What goes ahead, and one batch of the records in the partition where this writer is alone; None where that
        is not all of them."""
        if any((each.topic, each.partition) != self._alone_in for each in records):
            return None
        batches = [_batch_for_each(ahead), _batch_for_each(records)]
        return [each for each in batches if each] if records and None not in batches else None

    async def _send(self, records: Iterable[OutRecord]) -> list[tuple[int, asyncio.Future[Any]]]:
        """Hand the records over in batches; how many are in each, and what to await for its arrival."""
        batches: dict[tuple[str, int], Any] = {}
        sent: list[tuple[int, asyncio.Future[Any]]] = []

        async def send(batch: Any, topic: str, partition: int) -> None:
            arrival = await self._producer.send_batch(batch, topic, partition=partition)
            arrival.add_done_callback(_seen)
            sent.append((batch.record_count(), arrival))

        for record in records:
            place = (record.topic, record.partition)
            batch = batches.get(place)
            if batch is not None and _append(batch, record):
                continue
            if batch is not None:
                await send(batch, *place)
            batch = batches[place] = self._producer.create_batch()
            _append(batch, record)  # the client takes a batch's first record whatever its size
        for (topic, partition), batch in batches.items():
            await send(batch, topic, partition)
        return sent

    async def _send_and_notice(self, *arguments: Any, **options: Any) -> Any:
        """A request that got no answer may still arrive, after aiokafka has repeated it and gone on: a late EndTxn
        would then end the next transaction in its middle. So a writer that ever missed an answer writes no more."""
        if isinstance(arguments[1], InitProducerIdRequest):
            await self._before.ask_before_the_fence(arguments[0])
        try:
            return await self._send_request(*arguments, **options)
        except (KafkaError, OSError) as missed:
            self._disturbed = missed
            raise

    async def abandon(self) -> None:
        """Close without finishing anything: the next writer under this id settles what is open."""
        producer = self._producer
        producer._closed = True  # aiokafka has no public way to close without waiting for what is under way
        sender = producer._sender.sender_task
        if sender is not None:
            # First of all: it must not repeat a request that was not answered.
            sender.cancel()
        ending = producer._txn_manager._transaction_waiter
        if ending is not None:
            ending.add_done_callback(_seen)
        with contextlib.suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(1.0):
                await producer.client.close()


def _seen(future: asyncio.Future[object]) -> None:
    """Its failure was reported by the commit: asyncio need not warn that nobody looked."""
    if not future.cancelled():
        future.exception()


def _append(batch: Any, record: OutRecord) -> bool:
    """Whether the record still fitted."""
    appended = batch.append(
        timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers
    )
    return appended is not None


def _batch_for_each(records: Iterable[OutRecord]) -> Batches | None:
    """One batch for each partition; None where one of them cannot hold its records."""
    batches: dict[TopicPartition, Any] = {}
    for record in records:
        place = TopicPartition(record.topic, record.partition)
        if place not in batches:
            batches[place] = BatchBuilder(MAX_BATCH_BYTES, 0, is_transactional=False)
        if not _append(batches[place], record):
            return None
    return batches
