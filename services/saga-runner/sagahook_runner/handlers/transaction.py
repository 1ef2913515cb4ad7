"""One transaction of a partition owner in the making: what it decides, and the records that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from aiokafka import ConsumerRecord
from orjson import dumps, loads

from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook.saga import SagaApp, StepContext
from sagahook_runner.adapters.execution import AttemptKey, Job, Outcome, is_async
from sagahook_runner.adapters.records import EventRecords, Stamp, attempt_of, dead_letter, read_command
from sagahook_runner.domain.commands import AttemptFailed, AttemptSucceeded, Command, Start
from sagahook_runner.domain.decide import attempt_timeout
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import Running, SagaState
from sagahook_schemas.base import JsonValue
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.commands import CompleteStep, StartSaga
from sagahook_schemas.identity import idempotency_key, partition_of
from sagahook_schemas.steps import StepScheduled
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_STATE

log = get_logger(__name__)

TRANSACTION_BYTES = 900 * 1024
"""A transaction is closed when its records reach this size (design.md §2: at most 1 MB)."""

_FRAMING_BYTES = 300
"""What a record's headers and framing take, about."""

_MANY_RESULTS = 24
"""Fewer results, of 256 KiB at most, fit into a snapshot whatever they are."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an owner works, and with what."""

    partition: int
    partitions: int
    settings: ServiceSettings
    app: SagaApp
    shard: Shard


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
        self._scheduled: list[str] = []
        self._size = 0
        self.counted: Counter[tuple[str, str]] = Counter()
        """Events by type and saga name."""
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
            saga_id, command = read_command(record)
            if partition_of(saga_id, self._place.partitions) != self._place.partition:
                raise Undecodable(f"the saga {saga_id!r} does not live in this partition")
            match command:
                case StartSaga():
                    self.apply(saga_id, Start(command))
                case CompleteStep():
                    self.tell(Outcome(saga_id, attempt_of(command, self._dice)))
                case _:
                    raise Undecodable(f"{command.ce_type} is no command")
        except Undecodable as refused:
            log.warning(
                "command.refused", partition=record.partition, offset=record.offset, reason=str(refused)
            )
            topic = self._place.settings.topic(SAGA_COMMANDS.dead_letters)
            self._add(dead_letter(topic, record, record.partition, str(refused), self._stamp.milliseconds))

    def tell(self, outcome: Outcome) -> None:
        """What became of an attempt. A result that would make the snapshot too large fails its step instead."""
        command, state = outcome.command, self._shard.state(outcome.saga_id)
        if isinstance(command, AttemptSucceeded) and len(state.results) >= _MANY_RESULTS:
            size = len(state.to_json()) + len(dumps(command.result))
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

    def apply(self, saga_id: str, command: Command) -> None:
        entries = self._shard.apply(saga_id, command, self._stamp.now)
        for entry in entries:
            self._add(self._encoder.event(entry))
            self.counted[entry.event.ce_type, entry.name] += 1
            if isinstance(entry.event, StepScheduled):
                self._scheduled.append(saga_id)
        if entries:
            self.snapshot(self._shard.state(saga_id))

    def snapshot(self, state: SagaState) -> None:
        record = self._encoder.snapshot(state)
        self._snapshots[state.saga_id] = record
        self._size += len(record.value or b"") + _FRAMING_BYTES

    def records(self) -> list[OutRecord]:
        return [*self._records, *self._snapshots.values()]

    def jobs(self) -> Iterator[Job]:
        """The attempts that may begin once the transaction is committed."""
        return (_job(self._place, saga_id) for saga_id in self._scheduled)

    def _add(self, record: OutRecord) -> None:
        self._records.append(record)
        self._size += len(record.value or b"") + _FRAMING_BYTES


def _job(place: Place, saga_id: str) -> Job:
    """The attempt that the saga waits for."""
    state = place.shard.state(saga_id)
    running = state.current
    saga = place.app.get(state.name, state.version)
    if saga is None or not isinstance(running, Running):
        raise AssertionError(f"the saga {saga_id} scheduled a step that it does not wait for")
    # Copies: what an action does to them is not done to the saga.
    results = _copy(dict(state.results))
    context = StepContext(
        saga=state.name,
        saga_id=saga_id,
        run=state.run,
        step=running.step,
        phase=running.phase,
        attempt=running.attempt,
        correlation_id=state.correlation_id,
        idempotency_key=idempotency_key(saga_id, state.run, running.step, running.phase),
        action_key=idempotency_key(saga_id, state.run, running.step, "action"),
        context=_copy(dict(state.context)),
        results=results,
    )
    if running.phase == "action":
        function = saga.action(running.step)
        call = partial(function, context)
    else:
        function = saga.compensation(running.step)
        call = partial(function, context, results.get(running.step))
    return Job(
        key=AttemptKey.of(saga_id, state.run, running),
        partition=place.partition,
        call=call,
        is_async=is_async(function),
        timeout=attempt_timeout(saga.definition, running.step, running.phase),
    )


def _copy(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    copy: dict[str, JsonValue] = loads(dumps(value)) if value else {}
    return copy
