"""The projector: batches of the log become rows."""

from __future__ import annotations

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

_YEARS = range(1970, 9999)
"""What is kept by days has a partition for each of these at most."""


async def project(batches: Batches, projection: Projection, dead_letters: DeadLetters) -> None:
    """Decode → store → acknowledge, which is part of storing: the offsets are in the same transaction.

    What cannot be read goes to the dead letters before its offset moves. A value that PostgreSQL refuses
    fails its whole transaction: the batch is halved until the record that holds it stands alone. Raises
    Unavailable or OffsetsMoved.
    """
    events: list[Event] = []
    readable: dict[TopicPartition, Batch] = {}
    for partition, batch in batches.items():
        kept = []
        for record in batch.records:
            try:
                events.append(read(record))
                kept.append(record)
            except (InvalidEnvelope, Undecodable) as reason:
                await _dead_letter(record, reason, dead_letters)
        readable[partition] = replace(batch, records=tuple(kept))
    try:
        metrics.count(await projection.store(readable, events))
    except Refused as reason:
        if len(events) > 1:
            for half in halves(readable):
                await project(half, projection, dead_letters)
        else:
            [record] = [record for batch in readable.values() for record in batch.records]
            await _dead_letter(record, reason, dead_letters)
            await projection.store(readable, [])


def read(record: ConsumerRecord) -> Event:
    """Raises InvalidEnvelope or Undecodable."""
    number = record_number(record.partition, record.offset)
    envelope = Envelope.from_headers(record.headers)
    if envelope.time.year not in _YEARS:
        raise Undecodable(f"its time {envelope.time} is none")
    if envelope.type == RECEIVED:
        if not envelope.extension("webhooksource"):
            raise Undecodable("a received webhook names no source")
        size = 0 if record.value is None else len(record.value)
        return Event(number, envelope, None, size, request_headers(record.headers))
    data = decode_data(envelope.type, record.value)
    if isinstance(data, AuditRecorded) and data.at.year not in _YEARS:
        raise Undecodable(f"its time {data.at} is none")
    if envelope.saga_id and not (envelope.run and envelope.sequence) and not isinstance(data, Outcome):
        raise Undecodable("an event of a saga has no run or no sequence")
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
