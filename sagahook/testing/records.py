"""Records on their way through the memory."""

from __future__ import annotations

from datetime import datetime

from aiokafka import ConsumerRecord

from sagahook.runtime.transactions import OutRecord
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope


def as_consumed(record: OutRecord, offset: int) -> ConsumerRecord:
    """As a consumer gets it."""
    return ConsumerRecord(
        record.topic,
        record.partition,
        offset,
        record.timestamp_ms,
        0,
        record.key,
        record.value,
        None,
        len(record.key or b""),
        len(record.value or b""),
        record.headers,
    )


def command_record(saga_id: str, command: Contract, command_id: str, now: datetime) -> OutRecord:
    """What an operator asks of a saga's owner."""
    envelope = Envelope(id=command_id, source="/test", type=command.ce_type, time=now, saga_id=saga_id)
    return OutRecord(
        "test.saga.commands",
        0,
        saga_id.encode(),
        command.to_json(),
        envelope.to_headers(),
        int(now.timestamp() * 1000),
    )
