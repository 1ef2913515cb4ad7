"""Reads a partition's sagas back: from the snapshots and what the saga log tells behind them; or, where those were
deleted, from the log alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sagahook.runtime.kafka_lookup import look_up, ranges
from sagahook.runtime.settings import ServiceSettings
from sagahook_runner.adapters.attempt import AttemptKey
from sagahook_runner.adapters.marks import mark_of
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import LIMIT_PREFIX, OWNER_KEY
from sagahook_runner.adapters.snapshots import read_partition, snapshot_consumer
from sagahook_runner.domain.erased import WithoutKeys
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.finished import FinishedIndex, is_finished
from sagahook_runner.domain.limits import LimitState, evolve_limit, limits_from
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.envelope import Envelope
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

_LIMIT = LIMIT_PREFIX.encode()
_KEY_HEADER = f"ce_{KEY_EXTENSION}"
_AT_ONCE = 100
"""Snapshots decoded in one go."""


@dataclass(slots=True)
class Restored:
    """latest: the partition's last event time. from_log: the snapshots were gone: they have to be written anew
    before the owner's record says that they are there. unkept: the sagas that snapshots do not tell yet as they are.
    kept_until: the offset in `saga.events` before which the snapshots tell everything, once what is gone is written.
    end: where the log ended. taken: the offset of the command that the last owner was to take up next, as the last
    event tells; None: what was folded tells of none.
    """

    owner: OwnerRecord
    latest: datetime
    from_log: bool = False
    unkept: frozenset[str] = frozenset()
    kept_until: int = 0
    end: int = 0
    taken: int | None = None

    def saw(self, moment: datetime) -> None:
        self.latest = max(self.latest, moment)

    def heard(self, event: _Event) -> None:
        self.saw(event.moment)
        if event.taken is not None:
            self.taken = event.taken


async def restore(
    settings: ServiceSettings, partition: int, shard: Shard, keys: DataKeys | None = None
) -> Restored:
    """Fill the shard. To be called after the fence, when nobody else can write the partition any more. keys: of what is
    sealed. Raises WithoutKeys, WrongKey, LogCut."""
    restored = Restored(OwnerRecord(), datetime.fromtimestamp(0, UTC))
    consumer = snapshot_consumer(settings.kafka)
    log = _Log(consumer, TopicPartition(settings.topic(SAGA_EVENTS), partition), keys)
    try:
        await consumer.start()
        snapshots = _Snapshots(restored, shard, keys)
        async for records in read_partition(consumer, TopicPartition(settings.topic(SAGA_STATE), partition)):
            snapshots.take(records)
        if restored.owner.epoch and restored.owner.is_readable:
            begin = restored.owner.events_from
            if begin is None:
                restored.kept_until = restored.end = await log.end()
            else:
                restored.kept_until = begin
                await log.check(begin)
                async for event in log.read(begin):
                    await snapshots.go_on(event)
                restored.end = await log.position()
            await snapshots.finish()
        else:
            # A crash while they were written anew may have left some: the log is folded from nothing.
            shard.finished = FinishedIndex()
            await _restore_from_log(log, shard, restored)
            restored.kept_until = restored.end = await log.position()
    finally:
        await consumer.stop()
    return restored


class LogCut(Exception):
    """An operator must act: what the snapshots do not tell is not in the log any more."""


class _Event(NamedTuple):
    moment: datetime
    taken: int | None
    envelope: Envelope
    event: Contract


class _Log:
    """A partition of `saga.events`."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, keys: DataKeys | None) -> None:
        self._consumer = consumer
        self._partition = partition
        self._keys = keys

    async def end(self) -> int:
        await look_up(self._consumer, [self._partition])
        return int((await self._consumer.end_offsets([self._partition]))[self._partition])

    async def check(self, begin: int) -> None:
        """Raises LogCut where it does not hold what is from that offset on."""
        first, end = (await ranges(self._consumer, [self._partition]))[self._partition]
        if not first <= begin <= end:
            topic, partition = self._partition
            raise LogCut(
                f"the snapshots of partition {partition} tell what was before offset {begin} of {topic}, which holds "
                f"{first} to {end} now: restore both topics of one moment, or delete that of the snapshots, make it "
                "again by `sagahook topics apply`, and the log is folded from what it still holds"
            )

    async def read(self, begin: int = 0) -> AsyncIterator[_Event]:
        """Raises WithoutKeys, WrongKey."""
        async for records in read_partition(self._consumer, self._partition, begin):
            for record in records:
                value = record.value
                key_id = next((found for name, found in record.headers if name == _KEY_HEADER), None)
                if value is not None and key_id is not None:
                    value = await _opened(value, key_id.decode(), self._keys)
                yield _Event(_moment(record.timestamp), mark_of(record), *decode(record.headers, value))

    async def position(self) -> int:
        """Behind the last record that `read` found, and the ends of transactions after it."""
        return int(await self._consumer.position(self._partition))


class _Snapshots:
    """The newest snapshot of each saga, and how the sagas went on that have changed since.

    Snapshots are decoded at the end, since most are superseded by a later one.
    """

    def __init__(self, restored: Restored, shard: Shard, keys: DataKeys | None) -> None:
        self._keys = keys
        self._restored = restored
        self._shard = shard
        self._live: dict[bytes, tuple[bytes, int]] = {}
        self._went_on: dict[str, tuple[SagaState, datetime]] = {}

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
        self._restored.saw(_moment(latest))

    async def go_on(self, event: _Event) -> None:
        """An event from where the snapshots may not tell everything any more; many of them do tell it. A limit's and an
        owner's events are passed over: what they led to is written with them."""
        saga_id = event.envelope.saga_id
        self._restored.heard(event)
        if saga_id:
            before = self._went_on[saga_id][0] if saga_id in self._went_on else await self._known(saga_id)
            after = _folded(before, event)
            if after is not before or before is None:
                self._went_on[saga_id] = (after, event.moment)

    async def _known(self, saga_id: str) -> SagaState | None:
        found = self._live.get(saga_id.encode())
        if found is not None:
            return await self._decoded(found[0])
        return self._shard.state(saga_id) if self._shard.finished.get(saga_id) is not None else None

    async def finish(self) -> None:
        limits: dict[str, bytes] = {}
        for number, (key, (value, timestamp)) in enumerate(self._live.items(), 1):
            if key.startswith(_LIMIT):
                limits[key.decode()] = value
            elif key.decode() not in self._went_on:
                self._shard.restore(await self._decoded(value), _moment(timestamp))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # the other partitions' heartbeats are sent by this loop
        for state, ended in self._went_on.values():
            self._shard.restore(state, ended)
        for limit in limits_from(limits):
            self._shard.restore_limit(limit)
        self._restored.unkept = frozenset(self._went_on)

    async def _decoded(self, value: bytes) -> SagaState:
        state = SagaState.from_json(value)
        if state.erasure_key is None:
            return state
        return SagaState.from_json(await _opened(value, state.erasure_key, self._keys))


def _folded(state: SagaState | None, event: _Event) -> SagaState:
    """The saga's state after the event; unchanged where it tells of it already, or of a later run."""
    _, _, envelope, what = event
    if state is None or state.run < envelope.run:
        state = SagaState.new(envelope.saga_id, envelope.run)
    elif (envelope.run, envelope.sequence) <= (state.run, state.sequence):
        return state
    return evolve(state, what)


async def _restore_from_log(log: _Log, shard: Shard, restored: Restored) -> None:
    restored.owner = OwnerRecord()
    states: dict[str, tuple[SagaState, datetime]] = {}
    limits: dict[str, LimitState] = {}
    async for event in log.read():
        restored.heard(event)
        saga_id = event.envelope.saga_id
        if saga_id:
            before = states[saga_id][0] if saga_id in states else None
            states[saga_id] = (_folded(before, event), event.moment)
        else:
            _take_other(restored, limits, event)
    for state, ended in states.values():
        shard.restore(state, ended)
    for limit in limits.values():
        shard.restore_limit(limit)
    restored.from_log = bool(states or limits)


def _take_other(restored: Restored, limits: dict[str, LimitState], event: _Event) -> None:
    match event.event:
        case OwnerAcquired() as acquired:
            in_flight = _keys(acquired.in_flight)
            restored.owner = OwnerRecord(
                acquired.epoch, acquired.instance, False, in_flight, acquired.first_run
            )
        case OwnerReleased() as released:
            last = restored.owner
            in_flight = _keys(released.in_flight)
            restored.owner = OwnerRecord(released.epoch, last.instance, True, in_flight, last.first_run)
        case SlotRequested() | SlotGranted() | SlotReleased() as changed:
            key = event.envelope.subject
            evolve_limit(limits.setdefault(key, LimitState(key)), changed)
        case _:
            raise Undecodable(f"{event.envelope.type} of no saga")


async def _opened(value: bytes, key_id: str, keys: DataKeys | None) -> bytes:
    """Raises WithoutKeys, WrongKey."""
    if keys is None:
        raise WithoutKeys
    return await keys.open_record(key_id, value)


def _keys(in_flight: tuple[AttemptInFlight, ...]) -> frozenset[AttemptKey]:
    return frozenset(AttemptKey.of(each.saga_id, each.run, each) for each in in_flight)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
