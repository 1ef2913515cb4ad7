"""One transaction of a partition owner in the making: what it decides, and the records that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord
from orjson import dumps

from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook.saga import SagaApp
from sagahook_runner.adapters.attempt import Job, Outcome
from sagahook_runner.adapters.outcomes import attempt_of
from sagahook_runner.adapters.participants import request_record
from sagahook_runner.adapters.records import (
    OWNER_KEY,
    EventRecords,
    Stamp,
    dead_letter,
    read_command,
)
from sagahook_runner.domain.commands import (
    Admit,
    AttemptFailed,
    AttemptSucceeded,
    Command,
    Operate,
    Release,
    Start,
    Undo,
)
from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.finished import Finished
from sagahook_runner.domain.limits import snapshots_of
from sagahook_runner.domain.shard import Entry, Shard
from sagahook_runner.domain.state import SagaState
from sagahook_runner.domain.timers import RateDue, Timer
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.jobs import job_of
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.commands import (
    CancelSaga,
    CompleteStep,
    GrantSlot,
    MigrateSaga,
    ReleaseChild,
    ReleaseSlot,
    RequestSlot,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
    StartSaga,
    UndoChild,
)
from sagahook_schemas.identity import partition_of, saga_event_id
from sagahook_schemas.steps import StepScheduled
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_STATE

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

log = get_logger(__name__)

TRANSACTION_BYTES = 900 * 1024
"""A transaction is closed when its records reach this size (design.md §2: at most 1 MB)."""

_FRAMING_BYTES = 300
"""What a record's headers and framing take, about."""

_MANY_RESULTS = 16
"""Fewer results, of 256 KiB at most, fit into a snapshot whatever they are, sealed or not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an owner works, and with what."""

    partition: int
    partitions: int
    settings: ServiceSettings
    app: SagaApp
    shard: Shard
    conductors: Conductors
    controls: Controls


class OwnerTransaction:
    """Collects what is to be committed together. dice: uniform in [0, 1), for the jitter of retries."""

    def __init__(self, place: Place, stamp: Stamp, dice: float) -> None:
        self._place = place
        self._shard = place.shard
        self._stamp = stamp
        self._dice = dice
        self._encoder = EventRecords(place.settings, place.partition, stamp)
        self._records: list[OutRecord] = []
        self._snapshots: dict[str, OutRecord] = {}
        self._erasable: dict[int | str, str] = {}
        """The data keys of what is to be sealed: of records by their place, of snapshots by their saga."""
        self._scheduled: list[tuple[str, str]] = []
        self._size = 0
        self.counted: Counter[str] = Counter()
        """Events by type."""
        self.changed: dict[str, None] = {}
        """The sagas whose snapshots do not tell any more how they stand, in the order in which they changed."""
        self.of_functions: list[Entry] = []
        """Events of code-first sagas, whose functions are to hear of them once they are committed."""
        self.next_offset: int | None = None
        """Of the commands it consumed; None where it consumed none."""

    @property
    def is_open(self) -> bool:
        return self._size < TRANSACTION_BYTES

    @property
    def is_empty(self) -> bool:
        return not self._records and not self._snapshots and self.next_offset is None

    def take(self, record: ConsumerRecord) -> None:
        """A command from the topic. One that cannot be read or does not belong here is a dead letter."""
        self.next_offset = record.offset + 1
        try:
            self.take_asked(record)
        except Undecodable as refused:
            log.warning(
                "command.refused", partition=record.partition, offset=record.offset, reason=str(refused)
            )
            topic = self._place.settings.topic(SAGA_COMMANDS.dead_letters)
            self._add(dead_letter(topic, record, record.partition, str(refused), self._stamp.milliseconds))

    def take_asked(self, record: ConsumerRecord | OutRecord) -> None:
        """A command, from wherever it comes. Raises Undecodable."""
        asked = read_command(record)
        if partition_of(asked.key, self._place.partitions) != self._place.partition:
            raise Undecodable(f"{asked.key!r} does not live in this partition")
        self._take(asked.key, asked.id, asked.command)

    def _take(self, key: str, command_id: str, command: Contract) -> None:
        match command:
            case StartSaga():
                self.apply(key, Start(command, self._place_if_held(command)))
            case CompleteStep():
                self.tell(Outcome(key, attempt_of(command, self._dice)))
            case GrantSlot():
                self.apply(key, Admit(command.run, command.limit_key))
            case UndoChild():
                self.apply(key, Undo(command.reason))
            case ReleaseChild():
                self.apply(key, Release())
            case RequestSlot() | ReleaseSlot():
                self.apply_to_limit(key, command)
            case CancelSaga() | RetrySaga() | ResolveCompensation() | SignalSaga() | MigrateSaga():
                if self._shard.state(key).status == "NEW":
                    raise Undecodable(f"there is no saga {key}: check the id")
                self.apply(key, Operate(command, command_id))
            case _:
                raise Undecodable(f"{command.ce_type} is no command")

    def _place_if_held(self, request: StartSaga) -> int | None:
        is_held = self._place.controls.holds(request.name, request.source)
        return self._shard.held.next_place if is_held else None

    def tell(self, outcome: Outcome) -> None:
        """What became of an attempt. A result that would make the snapshot too large fails its step instead."""
        command = outcome.command
        if not isinstance(command, AttemptSucceeded):
            self.apply(outcome.saga_id, command)
            return
        state = self._shard.state(outcome.saga_id)
        if len(state.results) >= _MANY_RESULTS:
            size = len(state.to_json()) + len(dumps(command.result))
            if state.erasure_key is not None:
                size += size // 2  # what sealing adds
            if size > SAGA_STATE.max_bytes:
                error = (
                    f"result_too_large: all results take {size} bytes, the limit is {SAGA_STATE.max_bytes}"
                )
                failed = (command.run, command.step, command.phase, command.attempt, error)
                self.apply(
                    outcome.saga_id, AttemptFailed(*failed, False, True, command.duration_ms, self._dice)
                )
                return
        self.apply(outcome.saga_id, command)

    def due(self, key: str, timer: Timer) -> None:
        """A time that has come."""
        if isinstance(timer, RateDue):
            self.apply_to_limit(key, None)
        else:
            self.apply(key, timer)

    def apply(self, saga_id: str, command: Command) -> None:
        applied = self._shard.apply(saga_id, command, self._stamp.now)
        if applied.entries:
            for entry, record in zip(applied.entries, self._encoder.events(applied.entries), strict=True):
                if entry.state.erasure_key is not None:
                    self._erasable[len(self._records)] = entry.state.erasure_key
                self._add(record)
                self.counted[entry.event.ce_type] += 1
                if isinstance(entry.event, StepScheduled):
                    self._schedule(entry, entry.event)
            self.changed[saga_id] = None
            after = applied.entries[-1].state
            if is_code(self._place.app.get(after.name, after.version)):
                self.of_functions += applied.entries
        if applied.messages:
            state = applied.entries[-1].state if applied.entries else self._shard.state(saga_id)
            cause = saga_event_id(saga_id, state.run, state.sequence)
            for sent in applied.messages:
                partitions = self._place.partitions
                traceparent = state.traceparent or ""
                self._add(self._encoder.message(sent, cause, state.correlation_id, traceparent, partitions))

    def apply_to_limit(self, key: str, command: RequestSlot | ReleaseSlot | None) -> None:
        applied = self._shard.apply_to_limit(key, command, self._stamp.now)
        for event in applied.events:
            self._add(self._encoder.limit_event(key, event, len(self._records)))
            self.counted[event.ce_type] += 1
        for sent in applied.messages:
            self._add(
                self._encoder.message(sent, f"{key}/{applied.state.tickets}", "", "", self._place.partitions)
            )
        if applied.events:
            for name, value in snapshots_of(applied.state, applied.events):
                self._keep(name, self._encoder.limit(name, value))

    def keep(self, saga_id: str) -> None:
        """How the saga stands. One that was forgotten meanwhile has its tombstone."""
        if self._shard.is_kept_in_full(saga_id):
            self.snapshot(self._shard.state(saga_id))
        elif (finished := self._shard.finished.get(saga_id)) is not None:
            self.snapshot_finished(finished)

    def snapshot(self, state: SagaState) -> None:
        self._keep(state.saga_id, self._encoder.snapshot(state))
        if state.erasure_key is not None:
            self._erasable[state.saga_id] = state.erasure_key

    def everything(self) -> Iterator[Callable[[OwnerTransaction], None]]:
        """One call for each snapshot there is, to be made on the transaction that has room for it."""
        for state in self._shard.all():
            yield partial(OwnerTransaction.snapshot, state=state)
        for each in self._shard.finished:
            if not self._shard.is_kept_in_full(each.saga_id):
                yield partial(OwnerTransaction.snapshot_finished, finished=each)
        for limit in self._shard.limits.values():
            for key, value in snapshots_of(limit):
                yield partial(OwnerTransaction.snapshot_limit, key=key, value=value)

    def snapshot_finished(self, finished: Finished) -> None:
        self._erasable.pop(finished.saga_id, None)
        self._keep(finished.saga_id, self._encoder.finished(finished))

    def snapshot_limit(self, key: str, value: bytes | None) -> None:
        self._keep(key, self._encoder.limit(key, value))

    def forget(self) -> bool:
        """Finished sagas whose window has ended. Whether there was one: then `remember_owner`, because what runs begin
        with next has risen."""
        gone = self._shard.forget(self._stamp.now)
        for key in [*gone, *self._shard.forget_limits(self._stamp.now)]:
            self._keep(key, self._encoder.forgotten(key))
        return bool(gone)

    def remember_owner(self, record: bytes) -> None:
        self._keep(OWNER_KEY.decode(), self._encoder.owner_record(record))

    def _keep(self, key: str, record: OutRecord) -> None:
        self._snapshots[key] = record
        self._size += len(record.value or b"") + _FRAMING_BYTES

    def _schedule(self, entry: Entry, event: StepScheduled) -> None:
        """Asked of a participant in this transaction; of our own code once it is committed; of a child by a message."""
        state, opened = entry.state, entry.state.open[event.step]
        if event.participant is not None and event.phase != "prepare":
            prepared = state.prepared.get(event.step)
            self._add(
                request_record(
                    self._place.settings,
                    participant=event.participant,
                    saga=state.name,
                    saga_id=state.saga_id,
                    run=state.run,
                    step=event.step,
                    phase=event.phase,
                    attempt=event.attempt,
                    correlation_id=state.correlation_id,
                    data=prepared.get("value") if isinstance(prepared, dict) else None,
                    result=state.result_of(event.step) if event.phase == "compensation" else None,
                    times_out_at=event.times_out_at,
                    partition=self._place.partition,
                    stamp=self._stamp,
                    traceparent=state.traceparent or "",
                )
            )
        elif not opened.remote:
            self._scheduled.append((entry.saga_id, event.step))

    @property
    def data_keys(self) -> set[str]:
        """Those that `seal` needs."""
        return set(self._erasable.values())

    def seal(self, keys: DataKeys) -> None:
        """What can be erased. The keys must be settled."""
        for place, key_id in self._erasable.items():
            if isinstance(place, int):
                self._records[place] = keys.seal_record(self._records[place], key_id)
            else:
                self._snapshots[place] = keys.seal_snapshot(self._snapshots[place], key_id)

    def records(self) -> list[OutRecord]:
        return [*self._records, *self._snapshots.values()]

    def jobs(self) -> Iterator[Job]:
        """The attempts that may begin once the transaction is committed."""
        for saga_id, step in self._scheduled:
            state = self._shard.state(saga_id)
            opened = state.open.get(step)
            saga = self._place.app.get(state.name, state.version)
            if saga is None or opened is None or opened.standing != "running":
                continue  # what came later in the same transaction ended it, before it began
            yield job_of(saga, state, opened, self._place.partition, self._place.conductors)

    def _add(self, record: OutRecord) -> None:
        self._records.append(record)
        self._size += len(record.value or b"") + _FRAMING_BYTES
