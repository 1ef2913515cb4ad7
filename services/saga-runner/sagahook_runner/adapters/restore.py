"""Reads a partition's sagas back: from the snapshots, or, where those were deleted, from the saga log itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from orjson import dumps, loads

from sagahook.runtime.settings import ServiceSettings
from sagahook_runner.adapters.attempt import AttemptKey
from sagahook_runner.adapters.records import LIMIT_PREFIX, OWNER_KEY
from sagahook_runner.adapters.snapshots import read_partition, snapshot_consumer
from sagahook_runner.domain.erased import WithoutKeys
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.finished import FinishedIndex, is_finished
from sagahook_runner.domain.limits import LimitState, evolve_limit, limits_from
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.codec import decode
from sagahook_schemas.erasable import KEY_EXTENSION
from sagahook_schemas.sagas import (
    AttemptInFlight,
    OwnerAcquired,
    OwnerReleased,
    SlotGranted,
    SlotReleased,
    SlotRequested,
)
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_STATE

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

LAYOUT = 2
"""Of a live saga's snapshot. Raised when `SagaState` changes so that an older snapshot cannot be read."""

_LIMIT = LIMIT_PREFIX.encode()
_KEY_HEADER = f"ce_{KEY_EXTENSION}"
_AT_ONCE = 100
"""Snapshots decoded in one go."""


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """What the last owner left.

    instance: the process it was. released: it let go in order. in_flight: attempts that it, or an owner before
    it, promised to tell of by commands; they may still run elsewhere. first_run: see `Shard`. layout: of the
    snapshots; where it is another than ours, the log is folded instead.
    """

    epoch: int = 0
    instance: str = ""
    released: bool = True
    in_flight: frozenset[AttemptKey] = frozenset()
    first_run: int = 1
    layout: int = LAYOUT

    def to_json(self) -> bytes:
        return dumps(
            {
                "epoch": self.epoch,
                "instance": self.instance,
                "released": self.released,
                "in_flight": [list(key) for key in sorted(self.in_flight)],
                "first_run": self.first_run,
                "layout": self.layout,
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
            first_run=fields.get("first_run", 1),
            layout=fields.get("layout", 1),
        )


@dataclass(slots=True)
class Restored:
    """latest: the partition's last event time. from_log: the snapshots were gone: they have to be written anew
    before the owner's record says that they are there."""

    owner: OwnerRecord
    latest: datetime
    from_log: bool = False


async def restore(
    settings: ServiceSettings, partition: int, shard: Shard, keys: DataKeys | None = None
) -> Restored:
    """Fill the shard. To be called after the fence, when nobody else can write the partition any more. keys: of what is
    sealed. Raises WithoutKeys, WrongKey."""
    restored = Restored(OwnerRecord(), datetime.fromtimestamp(0, UTC))
    consumer = snapshot_consumer(settings.kafka)
    try:
        await consumer.start()
        snapshots = _Snapshots(restored, shard, keys)
        async for records in read_partition(consumer, TopicPartition(settings.topic(SAGA_STATE), partition)):
            snapshots.take(records)
        if restored.owner.epoch and restored.owner.layout == LAYOUT:
            await snapshots.finish()
        else:
            # A crash while they were written anew may have left some: the log is folded from nothing.
            shard.finished = FinishedIndex()
            await _restore_from_log(settings, partition, shard, consumer, restored, keys)
    finally:
        await consumer.stop()
    return restored


class _Snapshots:
    """The newest snapshot of each saga. They are decoded at the end, since most are superseded by a later one."""

    def __init__(self, restored: Restored, shard: Shard, keys: DataKeys | None) -> None:
        self._keys = keys
        self._restored = restored
        self._shard = shard
        self._live: dict[bytes, tuple[bytes, int]] = {}

    def take(self, records: list[ConsumerRecord]) -> None:
        finished = self._shard.finished
        latest = 0
        for record in records:
            latest = max(latest, record.timestamp)
            key, value = record.key, record.value
            if key == OWNER_KEY:
                self._restored.owner = OwnerRecord.from_record(record)
            elif value is not None and is_finished(value):
                self._live.pop(key, None)
                finished.put_record(key, value)
            else:
                if value is None:
                    self._live.pop(key, None)
                else:
                    self._live[key] = (value, record.timestamp)
                if not key.startswith(_LIMIT):
                    finished.pop(key.decode())
        self._restored.latest = max(self._restored.latest, _moment(latest))

    async def finish(self) -> None:
        limits: dict[str, bytes] = {}
        for number, (key, (value, timestamp)) in enumerate(self._live.items(), 1):
            if key.startswith(_LIMIT):
                limits[key.decode()] = value
            else:
                state = SagaState.from_json(value)
                if state.erasure_key is not None:
                    state = SagaState.from_json(await _opened(value, state.erasure_key, self._keys))
                self._shard.restore(state, _moment(timestamp))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # the other partitions' heartbeats are sent by this loop
        for limit in limits_from(limits):
            self._shard.restore_limit(limit)


async def _restore_from_log(
    settings: ServiceSettings,
    partition: int,
    shard: Shard,
    consumer: AIOKafkaConsumer,
    restored: Restored,
    keys: DataKeys | None,
) -> None:
    restored.owner = OwnerRecord()
    states: dict[str, tuple[SagaState, datetime]] = {}
    limits: dict[str, LimitState] = {}
    async for records in read_partition(consumer, TopicPartition(settings.topic(SAGA_EVENTS), partition)):
        for record in records:
            value = record.value
            key_id = next((found for name, found in record.headers if name == _KEY_HEADER), None)
            if value is not None and key_id is not None:
                value = await _opened(value, key_id.decode(), keys)
            _take_event(restored, states, limits, record, value)
    for state, ended in states.values():
        shard.restore(state, ended)
    for limit in limits.values():
        shard.restore_limit(limit)
    restored.from_log = bool(states or limits)


def _take_event(
    restored: Restored,
    states: dict[str, tuple[SagaState, datetime]],
    limits: dict[str, LimitState],
    record: ConsumerRecord,
    value: bytes | None,
) -> None:
    """value: the record's, opened."""
    moment = _moment(record.timestamp)
    restored.latest = max(restored.latest, moment)
    envelope, event = decode(record.headers, value)
    match event:
        case OwnerAcquired():
            in_flight = _keys(event.in_flight)
            restored.owner = OwnerRecord(event.epoch, event.instance, False, in_flight, event.first_run)
        case OwnerReleased():
            last = restored.owner
            in_flight = _keys(event.in_flight)
            restored.owner = OwnerRecord(event.epoch, last.instance, True, in_flight, last.first_run)
        case SlotRequested() | SlotGranted() | SlotReleased():
            key = envelope.subject
            evolve_limit(limits.setdefault(key, LimitState(key)), event)
        case _:
            state = states[envelope.saga_id][0] if envelope.saga_id in states else None
            if state is None or state.run < envelope.run:
                state = SagaState.new(envelope.saga_id, envelope.run)
            states[envelope.saga_id] = (evolve(state, event), moment)


async def _opened(value: bytes, key_id: str, keys: DataKeys | None) -> bytes:
    """Raises WithoutKeys, WrongKey."""
    if keys is None:
        raise WithoutKeys
    return await keys.open_record(key_id, value)


def _keys(in_flight: tuple[AttemptInFlight, ...]) -> frozenset[AttemptKey]:
    return frozenset(AttemptKey.of(each.saga_id, each.run, each) for each in in_flight)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
