"""The owner of one partition: the only writer of its saga log and its snapshots.

Results, commands and due timers gather while a transaction is under way; the next one carries them all, with
the snapshots of the sagas they changed and the offsets of the commands. Memory runs ahead of the log by that one
transaction, so after any failure of it the whole owner is thrown away and a new one restores (design.md §3).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import random

from aiokafka import ConsumerRecord, TopicPartition
from orjson import dumps

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partitions import StartOffset
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook.saga import SagaApp, StepContext
from sagahook_runner import metrics
from sagahook_runner.adapters.execution import AttemptKey, Executor, Job, Outcome, is_async
from sagahook_runner.adapters.records import EventRecords, Stamp, attempt_of, dead_letter, read_command
from sagahook_runner.adapters.restore import OwnerRecord, restore
from sagahook_runner.domain.commands import (
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Park,
    Start,
)
from sagahook_runner.domain.decide import attempt_timeout
from sagahook_runner.domain.shard import Entry, Shard
from sagahook_runner.domain.state import Running
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.commands import CompleteStep, StartSaga
from sagahook_schemas.identity import idempotency_key, partition_of
from sagahook_schemas.sagas import AttemptInFlight, OwnerAcquired, OwnerReleased
from sagahook_schemas.steps import StepRetryScheduled, StepScheduled
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_STATE

log = get_logger(__name__)

TRANSACTION_BYTES = 900 * 1024
"""A transaction is closed when its records reach this size (design.md §2: at most 1 MB)."""

INBOX_LIMIT = 2_000
"""Commands read but not yet decided, beyond which the partition is not read."""

_MANY_RESULTS = 24
"""Fewer results, of 256 KiB at most, fit into a snapshot whatever they are."""

_OUTCOME_GRACE = timedelta(seconds=2)
"""How long beyond its time-out an attempt of the last owner is waited for."""


@dataclass(slots=True)
class _Batch:
    """One transaction in the making."""

    now: datetime
    encoder: EventRecords
    records: list[OutRecord] = field(default_factory=list)
    size: int = 0
    touched: set[str] = field(default_factory=set)
    scheduled: list[Entry] = field(default_factory=list)
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    next_offset: int | None = None

    @property
    def is_open(self) -> bool:
        return self.size < TRANSACTION_BYTES

    @property
    def is_empty(self) -> bool:
        return not self.records and self.next_offset is None

    def add(self, record: OutRecord) -> None:
        self.records.append(record)
        self.size += len(record.value or b"") + 300  # headers and framing, about


class PartitionOwner:
    """See `sagahook.runtime.partitions.PartitionWorker` for when each method is called."""

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        app: SagaApp,
        executor: Executor,
        writer: TransactionalWriter,
        start_offset: StartOffset,
        clock: Clock,
        process_id: str,
        partitions: int,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._settings = settings
        self._app = app
        self._executor = executor
        self._writer = writer
        self._start_offset = start_offset
        self._clock = clock
        self._process_id = process_id
        self._commands = TopicPartition(settings.topic(SAGA_COMMANDS), partition)
        self._shard = Shard({(d.name, d.version): d for d in app.definitions()})
        self._epoch = 0
        self._latest = datetime.fromtimestamp(0, UTC)
        self._inbox: deque[ConsumerRecord] = deque()
        self._delivered = 0
        self._collected: list[Outcome] = []
        self._announced = False
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()

    # -- the life of an owner -------------------------------------------------------------------------------

    async def take_over(self) -> int:
        await self._writer.start()
        offset = await self._start_offset()
        restored = await restore(self._settings, self._partition)
        self._latest = restored.latest
        self._epoch = restored.owner.epoch + 1
        for state in restored.states.values():
            self._shard.restore(state)
        self._delivered = offset
        self._executor.attach(self._partition, self._wake.set)
        await self._announce()
        await self._recover(restored.owner)
        self._may_write.set()
        return offset

    async def run(self) -> None:
        while not self._executor.is_draining:
            await self._wait_for_work()
            async with self._writing:
                if self._may_write.is_set() and not self._executor.is_draining:
                    await self._turn()
        # The process stops: what is decided now could not begin here any more. `let_go` says the rest.
        await asyncio.Event().wait()

    async def let_go(self) -> None:
        self._may_write.clear()
        async with self._writing:
            await self._commit(
                deque((lost.saga_id, lost.command) for lost in self._executor.collect_lost(self._partition))
            )
            self._executor.detach(self._partition)
            in_flight = self._executor.in_flight(self._partition)
            released = OwnerReleased(
                partition=self._partition,
                epoch=self._epoch,
                in_flight=tuple(AttemptInFlight(**key._asdict()) for key in sorted(in_flight)),
            )
            left = OwnerRecord(self._epoch, self._process_id, released=True, in_flight=frozenset(in_flight))
            await self._commit_owner(released, left)
            self._announced = False

    def resume(self) -> None:
        self._executor.attach(self._partition, self._wake.set)
        self._may_write.set()
        self._wake.set()

    async def close(self) -> None:
        self._may_write.clear()
        # What the lost transaction carried is told again; what was committed after all is a duplicate then.
        self._executor.give_back(self._partition, self._collected)
        self._executor.detach(self._partition)
        await self._writer.abandon()

    def deliver(self, records: Sequence[ConsumerRecord]) -> None:
        self._inbox.extend(records)
        self._delivered = records[-1].offset + 1
        self._wake.set()

    @property
    def is_full(self) -> bool:
        return len(self._inbox) >= INBOX_LIMIT or self._executor.is_full

    @property
    def next_offset(self) -> int:
        return self._delivered

    # -- taking over ----------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        acquired = OwnerAcquired(
            partition=self._partition, epoch=self._epoch, instance=self._settings.instance
        )
        await self._commit_owner(acquired, OwnerRecord(self._epoch, self._process_id, released=False))
        self._announced = True

    async def _commit_owner(self, event: OwnerAcquired | OwnerReleased, left: OwnerRecord) -> None:
        await self._writer.ready()
        records = EventRecords(self._settings, self._partition, Stamp(self._now(), self._epoch))
        await self._writer.commit(records.owner(event, left.to_json()), {}, self._settings.owners_group)

    async def _recover(self, last: OwnerRecord) -> None:
        """Say in the log what became of the attempts that the last owner left unfinished, and of the sagas that
        nothing deployed here can carry on."""
        here = self._executor.in_flight(self._partition)
        verdicts: deque[tuple[str, Command]] = deque()
        for state, running in self._shard.running():
            key = AttemptKey(state.saga_id, state.run, running.step, running.phase, running.attempt)
            if key in here:
                continue
            if last.released and key in last.in_flight:
                given_up = AttemptLost(*key[1:], "crash")
                self._shard.set_timer(running.times_out_at + _OUTCOME_GRACE, state.saga_id, given_up)
            elif last.released or last.instance == self._process_id:
                verdicts.append((state.saga_id, AttemptLost(*key[1:], "never_begun")))
            else:
                verdicts.append((state.saga_id, AttemptLost(*key[1:], "crash")))
        verdicts.extend((state.saga_id, Park(reason)) for state, reason in self._shard.unfit())
        if verdicts:
            log.info("owner.recovered", partition=self._partition, verdicts=len(verdicts))
        await self._commit(verdicts)

    async def _commit(self, commands: deque[tuple[str, Command]]) -> None:
        """Apply the commands, in as many transactions as they need."""
        while commands:
            await self._writer.ready()
            batch = self._begin()
            while commands and batch.is_open:
                self._apply(batch, *commands.popleft())
            await self._write(batch)

    # -- one transaction ------------------------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        await self._may_write.wait()
        while self._announced and not self._inbox and not self._executor.has_outcomes(self._partition):
            due = self._shard.next_due()
            seconds = None if due is None else (due - self._now()).total_seconds()
            if seconds is not None and seconds <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            await self._may_write.wait()

    async def _turn(self) -> None:
        if not self._announced:
            await self._announce()
        await self._writer.ready()
        batch = self._begin()
        while batch.is_open and (outcome := self._executor.collect(self._partition)) is not None:
            self._collected.append(outcome)
            self._apply(batch, outcome.saga_id, self._bounded(outcome))
        while batch.is_open and (due := self._shard.pop_due(batch.now)) is not None:
            self._apply(batch, *due)
        while batch.is_open and self._inbox:
            self._take(batch, self._inbox.popleft())
        await self._write(batch)
        self._collected.clear()

    def _begin(self) -> _Batch:
        stamp = Stamp(self._now(), self._epoch)
        return _Batch(stamp.now, EventRecords(self._settings, self._partition, stamp))

    def _take(self, batch: _Batch, record: ConsumerRecord) -> None:
        """A command from the topic. One that cannot be read or does not belong here is a dead letter."""
        batch.next_offset = record.offset + 1
        try:
            saga_id, command = read_command(record)
            if partition_of(saga_id, self._partitions) != self._partition:
                raise Undecodable(f"the saga {saga_id!r} does not live in this partition")
            match command:
                case StartSaga():
                    self._apply(batch, saga_id, Start(command))
                case CompleteStep():
                    self._apply(batch, saga_id, attempt_of(command, random()))
                case _:
                    raise Undecodable(f"{command.ce_type} is no command")
        except Undecodable as refused:
            log.warning(
                "command.refused", partition=self._partition, offset=record.offset, reason=str(refused)
            )
            batch.add(
                dead_letter(
                    self._settings.topic(SAGA_COMMANDS.dead_letters),
                    record,
                    self._partition,
                    str(refused),
                    int(batch.now.timestamp() * 1000),
                )
            )

    def _apply(self, batch: _Batch, saga_id: str, command: Command) -> None:
        for entry in self._shard.apply(saga_id, command, batch.now):
            batch.add(batch.encoder.event(entry))
            batch.counted[entry.event.ce_type, entry.name] += 1
            batch.touched.add(saga_id)
            if isinstance(entry.event, StepScheduled):
                batch.scheduled.append(entry)

    def _bounded(self, outcome: Outcome) -> Command:
        """A result that would make the saga's snapshot too large to be written fails its step instead."""
        command, state = outcome.command, self._shard.state(outcome.saga_id)
        if not isinstance(command, AttemptSucceeded) or len(state.results) < _MANY_RESULTS:
            return command
        size = len(state.to_json()) + len(dumps(command.result))
        if size <= SAGA_STATE.max_bytes:
            return command
        error = f"result_too_large: all results take {size} bytes, the limit is {SAGA_STATE.max_bytes}"
        return AttemptFailed(
            command.run,
            command.step,
            command.phase,
            command.attempt,
            error,
            False,
            True,
            command.duration_ms,
            0.0,
        )

    async def _write(self, batch: _Batch) -> None:
        """Persist, then acknowledge: actions begin only after their `step.scheduled` is committed."""
        if batch.is_empty:
            return
        for saga_id in batch.touched:
            batch.add(batch.encoder.snapshot(self._shard.state(saga_id)))
        offsets = {} if batch.next_offset is None else {self._commands: batch.next_offset}
        with metrics.COMMITS.time():
            await self._writer.commit(batch.records, offsets, self._settings.owners_group)
        for (kind, saga), count in batch.counted.items():
            metrics.EVENTS_WRITTEN.labels(kind).inc(count)
            if kind == StepRetryScheduled.ce_type:
                metrics.RETRIES.labels(saga).inc(count)
        for entry in batch.scheduled:
            self._executor.submit(self._job(entry.saga_id))

    def _job(self, saga_id: str) -> Job:
        """The attempt that the saga waits for."""
        state = self._shard.state(saga_id)
        running = state.current
        saga = self._app.get(state.name, state.version)
        if saga is None or not isinstance(running, Running):
            raise AssertionError(f"the saga {saga_id} scheduled a step that it does not wait for")
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
            context=state.context,
            results=state.results,
        )
        if running.phase == "action":
            function = saga.action(running.step)
            call = partial(function, context)
        else:
            function = saga.compensation(running.step)
            call = partial(function, context, state.results.get(running.step))
        return Job(
            key=AttemptKey(saga_id, state.run, running.step, running.phase, running.attempt),
            partition=self._partition,
            call=call,
            is_async=is_async(function),
            timeout=attempt_timeout(saga.definition, running.step, running.phase),
        )

    def _now(self) -> datetime:
        """The owner's time: never before the partition's last event, whatever the machine's clock says."""
        self._latest = max(self._clock.now(), self._latest)
        return self._latest
