"""The projector: batches of the log become rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.batches import Batch, Batches
from sagahook.runtime.dead_letters import DeadLetters
from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.codec import Undecodable, decode_data
from sagahook_schemas.envelope import Envelope, InvalidEnvelope
from sagahook_schemas.identity import record_number
from sagahook_schemas.webhooks import RECEIVED, request_headers
from sagahook_tracker import metrics
from sagahook_tracker.adapters.projection import Projection, Refused
from sagahook_tracker.domain.changes import Event
from sagahook_tracker.domain.deliveries import Outcome

_FIRST_YEAR, _YEAR_AFTER = 1970, 9999
"""What is kept by days has a partition for each of these years' at most."""


_SLICE = 25
"""Records that are read at a time while an earlier batch is being stored: about half a millisecond's."""

_ENOUGH = 500
"""Records that are worth beginning with before the batch before them is stored. Fewer are stored at once: somebody may
wait for them."""


class Pipeline:
    """`handle` and `finish` of a `BatchConsumer`: a large batch is read while the one before it is being stored."""

    def __init__(self, projection: Projection, dead_letters: DeadLetters) -> None:
        self._projection = projection
        self._dead_letters = dead_letters
        self._storing: asyncio.Task[None] | None = None

    async def handle(self, batches: Batches) -> None:
        """Raises Unavailable or OffsetsMoved, also for the batches before these."""
        events, readable = await self._read(batches)
        await self.finish()
        storing = _store(readable, events, self._projection, self._dead_letters)
        if len(events) < _ENOUGH:
            await storing
        else:
            self._storing = asyncio.create_task(storing, name="storing")

    async def finish(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def _read(self, batches: Batches) -> tuple[list[Event], Batches]:
        """What cannot be read goes to the dead letters before its offset moves."""
        events: list[Event] = []
        readable: dict[TopicPartition, Batch] = {}
        for partition, batch in batches.items():
            kept = []
            for at, record in enumerate(batch.records, start=1):
                try:
                    events.append(read(record))
                    kept.append(record)
                except (InvalidEnvelope, Undecodable) as reason:
                    await _dead_letter(record, reason, self._dead_letters)
                if at % _SLICE == 0 and self._storing is not None:
                    await asyncio.sleep(0)
            readable[partition] = replace(batch, records=tuple(kept))
        return events, readable


async def project(batches: Batches, projection: Projection, dead_letters: DeadLetters) -> None:
    """Decode → store → acknowledge, which is part of storing: the offsets are in the same transaction.

    Raises Unavailable or OffsetsMoved.
    """
    pipeline = Pipeline(projection, dead_letters)
    await pipeline.handle(batches)
    await pipeline.finish()


async def _store(
    batches: Batches, events: Sequence[Event], projection: Projection, dead_letters: DeadLetters
) -> None:
    """A value that PostgreSQL refuses fails its whole transaction: the batch is halved until the record that holds it
    stands alone. Raises Unavailable or OffsetsMoved."""
    try:
        metrics.count(await projection.store(batches, events))
    except Refused as reason:
        if len(events) > 1:
            for half in halves(batches):
                await project(half, projection, dead_letters)
        else:
            [record] = [record for batch in batches.values() for record in batch.records]
            await _dead_letter(record, reason, dead_letters)
            await projection.store(batches, [])


def read(record: ConsumerRecord) -> Event:
    """Raises InvalidEnvelope or Undecodable."""
    number = record_number(record.partition, record.offset)
    envelope = Envelope.from_headers(record.headers)
    if not _FIRST_YEAR <= envelope.time.year < _YEAR_AFTER:
        raise Undecodable(f"its time {envelope.time} is none")
    if envelope.type == RECEIVED:
        if not envelope.extension("webhooksource"):
            raise Undecodable("a received webhook names no source")
        size = 0 if record.value is None else len(record.value)
        return Event(number, envelope, None, size, request_headers(record.headers))
    data = decode_data(envelope.type, record.value)
    if envelope.saga_id and envelope.run and envelope.sequence:
        return Event(number, envelope, data)
    if envelope.saga_id and not isinstance(data, Outcome):
        raise Undecodable("an event of a saga has no run or no sequence")
    if isinstance(data, AuditRecorded) and not _FIRST_YEAR <= data.at.year < _YEAR_AFTER:
        raise Undecodable(f"its time {data.at} is none")
    return Event(number, envelope, data)


def halves(batches: Batches) -> tuple[Batches, Batches]:
    """Two parts with a record or more each, that together say the same; the first must be stored first."""
    wanted = sum(len(batch.records) for batch in batches.values()) // 2
    first: dict[TopicPartition, Batch] = {}
    second: dict[TopicPartition, Batch] = {}
    for partition, batch in batches.items():
        taken, left = batch.records[:wanted], batch.records[wanted:]
        wanted -= len(taken)
        if not left:
            first[partition] = batch
        elif not taken:
            second[partition] = batch
        else:
            first[partition] = Batch(batch.first_offset, left[0].offset, taken)
            second[partition] = Batch(left[0].offset, batch.next_offset, left)
    return first, second


async def _dead_letter(record: ConsumerRecord, reason: Exception, dead_letters: DeadLetters) -> None:
    await dead_letters.put(record, str(reason))
    metrics.DEAD_LETTERS.labels(record.topic).inc()
