"""Reads a partition's sagas back: from the snapshots, or, where those were deleted, from the saga log itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from orjson import dumps, loads

from sagahook.runtime.settings import ServiceSettings
from sagahook_runner.adapters.execution import AttemptKey
from sagahook_runner.adapters.records import OWNER_KEY
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.codec import decode
from sagahook_schemas.sagas import OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_STATE


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """What the last owner left.

    instance: the process it was. released: it let go in order. in_flight: attempts that it, or an owner before
    it, promised to tell of by commands; they may still run elsewhere.
    """

    epoch: int = 0
    instance: str = ""
    released: bool = True
    in_flight: frozenset[AttemptKey] = frozenset()

    def to_json(self) -> bytes:
        return dumps(
            {
                "epoch": self.epoch,
                "instance": self.instance,
                "released": self.released,
                "in_flight": [list(key) for key in sorted(self.in_flight)],
            }
        )

    @classmethod
    def from_record(cls, record: ConsumerRecord) -> OwnerRecord:
        fields = loads(record.value)
        return cls(
            epoch=fields["epoch"],
            instance=fields["instance"],
            released=fields["released"],
            in_flight=frozenset(AttemptKey(*key) for key in fields["in_flight"]),
        )


@dataclass(slots=True)
class Restored:
    owner: OwnerRecord
    states: dict[str, SagaState]
    latest: datetime
    """The partition's last event time."""
    from_log: bool = False
    """The snapshots were gone: they have to be written anew before the owner's record says that they are there."""


async def restore(settings: ServiceSettings, partition: int) -> Restored:
    """To be called after the fence, when nobody else can write the partition any more."""
    restored = Restored(OwnerRecord(), {}, datetime.fromtimestamp(0, UTC))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=8 * 1024 * 1024,
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        async for record in _read_all(consumer, TopicPartition(settings.topic(SAGA_STATE), partition)):
            _take_snapshot(restored, record)
        if restored.owner.epoch == 0:
            # A crash while they were written anew may have left some: the log is folded from nothing.
            restored.states.clear()
            async for record in _read_all(consumer, TopicPartition(settings.topic(SAGA_EVENTS), partition)):
                _take_event(restored, record)
            restored.from_log = bool(restored.states)
    finally:
        await consumer.stop()
    return restored


def _take_snapshot(restored: Restored, record: ConsumerRecord) -> None:
    restored.latest = max(restored.latest, _time(record))
    if record.key == OWNER_KEY:
        restored.owner = OwnerRecord.from_record(record)
    elif record.value is None:
        restored.states.pop(record.key.decode(), None)
    else:
        restored.states[record.key.decode()] = SagaState.from_json(record.value)


def _take_event(restored: Restored, record: ConsumerRecord) -> None:
    restored.latest = max(restored.latest, _time(record))
    envelope, event = decode(record.headers, record.value)
    match event:
        case OwnerAcquired() | OwnerReleased():
            restored.owner = OwnerRecord(
                event.epoch,
                event.instance if isinstance(event, OwnerAcquired) else restored.owner.instance,
                released=isinstance(event, OwnerReleased),
                in_flight=frozenset(AttemptKey.of(each.saga_id, each.run, each) for each in event.in_flight),
            )
        case _:
            state = restored.states.get(envelope.saga_id)
            if state is None or state.run < envelope.run:
                state = SagaState(envelope.saga_id, run=envelope.run)
            restored.states[envelope.saga_id] = evolve(state, event)


async def _read_all(consumer: AIOKafkaConsumer, partition: TopicPartition) -> AsyncIterator[ConsumerRecord]:
    """Every committed record from the beginning to the end as of now."""
    consumer.assign([partition])
    first = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, first)
    while await consumer.position(partition) < end:
        for records in (await consumer.getmany(partition, timeout_ms=20)).values():
            for record in records:
                yield record


def _time(record: ConsumerRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)
