"""The owner of one partition: the only writer of its saga log and its snapshots.

Outcomes, commands and due timers gather while a transaction is under way; the next one carries them all, with how far
the commands were taken. Memory runs ahead of the log by that one transaction, so after any failure of it the whole
owner is thrown away and a new one restores (design.md §3). Snapshots follow within seconds (docs/decisions/0030).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import random
from time import monotonic
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.inbox import Inbox
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partitions import OffsetsLost, StartOffset
from sagahook.runtime.telemetry_kafka import consuming
from sagahook.runtime.transactions import OutRecord, OwnershipLost, TransactionalWriter
from sagahook.saga import SagaApp
from sagahook_runner import metrics
from sagahook_runner.adapters.attempt import AttemptKey, Outcome
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.marks import Mark
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_runner.adapters.restore import Restored, restore
from sagahook_runner.domain.commands import Command
from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.erased import WithoutKeys
from sagahook_runner.domain.shard import Definitions, Shard, Timer
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.erasing import Erasing
from sagahook_runner.handlers.left import Left
from sagahook_runner.handlers.letting_go import LettingGo
from sagahook_runner.handlers.suspects import Suspects, suspect_of
from sagahook_runner.handlers.transaction import OwnerTransaction, Place
from sagahook_runner.handlers.unkept import Unkept
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.sagas import AttemptInFlight, OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

log = get_logger(__name__)

_FORGETTING = timedelta(seconds=5)
"""Between two looks for finished sagas whose window has ended."""

_TURN_GAP = timedelta(milliseconds=50)
"""Between two looks whether a step's turn has come."""

_CATCHING_UP_SECONDS = 0.5
"""Between two looks for whether more functions may catch up."""


class PartitionOwner:
    """See `sagahook.runtime.partitions.PartitionWorker` for when each method is called."""

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        app: SagaApp,
        executor: Executor,
        conductors: Conductors,
        writer: TransactionalWriter,
        start_offset: StartOffset,
        clock: Clock,
        process_id: str,
        partitions: int,
        suspects: Suspects,
        controls: Controls,
        keys: DataKeys | None = None,
    ) -> None:
        self._keys = keys
        self._partition = partition
        self._settings = settings
        self._executor = executor
        self._conductors = conductors
        self._writer = writer
        self._start_offset = start_offset
        self._clock = clock
        self._process_id = process_id
        self._suspects = suspects
        self._commands = TopicPartition(settings.topic(SAGA_COMMANDS), partition)
        self._events = TopicPartition(settings.topic(SAGA_EVENTS), partition)
        self._unkept = Unkept(0, ())
        self._shard = Shard(Definitions(app.definitions()), timedelta(seconds=settings.deduplication_window))
        self._place = Place(partition, partitions, settings, app, self._shard, conductors, controls)
        self._controls = controls
        self._letting_go = LettingGo(self._shard, controls)
        self._erasing = Erasing(self._shard, keys) if keys is not None else None
        self._mark = Mark(self._commands, self._events)
        self._epoch = 0
        self._latest = datetime.fromtimestamp(0, UTC)
        self._forgets_at = self._latest
        self._inbox = Inbox()
        self._promised: frozenset[AttemptKey] = frozenset()
        self._collected: list[Outcome] = []
        self._unplayed: deque[str] = deque()
        self._announced = False
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()

    # -- the life of an owner -------------------------------------------------------------------------------

    async def take_over(self) -> int:
        await self._writer.start()
        start = await self._start_offset()
        restored = await restore(self._settings, self._partition, self._shard, self._keys)
        if restored.owner.epoch and not start.was_committed:
            raise OffsetsLost(
                f"partition {self._partition} of {self._commands.topic} had an owner, but the group "
                f"{self._settings.owners_group} has no offset for it (Kafka forgets those of a group that was empty "
                "for a week): set the group's offset to the end of the topic, then start the runner"
            )
        self._latest = restored.latest
        self._epoch = restored.owner.epoch + 1
        self._shard.first_run = max(self._shard.first_run, restored.owner.first_run)
        self._promised = restored.owner.in_flight
        self._inbox.next_offset = self._mark.begin(start, restored.taken, restored.end)
        self._executor.attach(self._partition, self._wake.set)
        await self._continue_snapshots(restored)
        await self._announce_behind(restored.end)
        self._drop_functions()
        await self._recover(restored.owner)
        self._play_functions()
        self._controls.watch(self._wake.set)
        if self._keys is not None:
            self._keys.watch(self._wake.set)
        self._may_write.set()
        return self._inbox.next_offset

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
            lost = self._executor.collect_lost(self._partition)
            await self._commit_all(deque((outcome.saga_id, outcome.command) for outcome in lost))
            await self._keep_changed()
            self._executor.detach(self._partition)
            in_flight = self._still_promised() | self._executor.in_flight(self._partition)
            released = OwnerReleased(
                partition=self._partition, epoch=self._epoch, in_flight=_in_flight(in_flight)
            )
            await self._commit_owner(released, in_flight)
            self._announced = False

    def resume(self) -> None:
        self._executor.resume(self._partition, self._wake.set)
        self._may_write.set()
        self._wake.set()

    async def close(self) -> None:
        self._may_write.clear()
        self._controls.unwatch(self._wake.set)
        if self._keys is not None:
            self._keys.unwatch(self._wake.set)
        self._drop_functions()
        # What the lost transaction carried is told again; what was committed after all is a duplicate then.
        self._executor.give_back(self._partition, self._collected)
        self._executor.detach(self._partition)
        await self._writer.abandon()

    def deliver(self, records: Sequence[ConsumerRecord]) -> None:
        self._inbox.extend(records)
        self._wake.set()

    @property
    def is_full(self) -> bool:
        return self._inbox.is_full or self._executor.is_full

    @property
    def next_offset(self) -> int:
        return self._inbox.next_offset

    @property
    def waiting_from(self) -> int | None:
        return self._inbox.first_offset

    def _drop_functions(self) -> None:
        self._conductors.drop(self._partition)
        self._executor.forget_said(self._partition)

    def _play_functions(self) -> None:
        """Those whose turn it is at once. One that waits is played when there is something to tell it, and once by
        the way: of what it asked for at the same time, a part may have been lost."""
        for state in self._shard.live():
            if state.status != "EXECUTING" or not is_code(self._place.app.get(state.name, state.version)):
                continue
            if state.open:
                self._unplayed.append(state.saga_id)
            else:
                self._conductors.go_on(self._partition, state)

    def _catch_up(self) -> None:
        """Between two transactions, when the states are those of the log."""
        while self._unplayed and self._conductors.has_room:
            self._conductors.catch_up(self._partition, self._shard.state(self._unplayed.popleft()))

    # -- taking over ----------------------------------------------------------------------------------------

    async def _continue_snapshots(self, restored: Restored) -> None:
        """Where they are gone, all of them are written, before the owner's record says that they are there."""
        self._unkept = Unkept(restored.kept_until, restored.unkept)
        if restored.from_log:
            transaction = self._begin()
            for keep in transaction.everything():
                transaction = await self._with_room(transaction)
                keep(transaction)
            await self._write(transaction)

    async def _with_room(self, transaction: OwnerTransaction) -> OwnerTransaction:
        """It, or the next one."""
        if transaction.is_open:
            return transaction
        await self._write(transaction)
        await self._writer.ready()
        return self._begin()

    async def _announce_behind(self, end: int) -> None:
        """Announce this owner, whose events shall come right behind what was restored. From then on Kafka refuses here
        what an earlier owner still has under way; what of it came in between has to be restored first."""
        announced_at = await self._announce()
        if announced_at != end:
            raise OwnershipLost(
                f"the log of partition {self._partition} went on from {end} to {announced_at} while it was restored"
            )
        self._writer.alone_in(self._events)

    async def _announce(self) -> int:
        """Returns the offset of the announcement."""
        promised = self._still_promised()
        acquired = OwnerAcquired(
            partition=self._partition,
            epoch=self._epoch,
            instance=self._settings.instance,
            first_run=self._shard.first_run,
            in_flight=_in_flight(promised),
        )
        end = await self._commit_owner(acquired, promised)
        self._announced = True
        return end - 1

    async def _commit_owner(
        self,
        event: OwnerAcquired | OwnerReleased,
        in_flight: frozenset[AttemptKey],
    ) -> int:
        """Returns the offset behind the event. The group is told, because its offset must never be unknown once there
        was an owner."""
        left = self._left(in_flight, released=isinstance(event, OwnerReleased))
        await self._writer.ready()
        records = EventRecords(self._settings, self._partition, Stamp(self._now(), self._epoch))
        ends = await self._commit(records.owner(event, left), self._mark.next_offset)
        self._unkept.committed((), 1, ends[self._events], self._latest)
        return ends[self._events]

    def _left(self, in_flight: frozenset[AttemptKey], *, released: bool) -> bytes:
        """The owner's record in `saga.state`."""
        first_run, events_from = self._shard.first_run, self._unkept.begin
        return OwnerRecord(
            self._epoch, self._process_id, released, in_flight, first_run, events_from
        ).to_json()

    def _still_promised(self) -> frozenset[AttemptKey]:
        """Of the attempts that other processes promised to tell of, those that are waited for."""
        self._promised &= {
            AttemptKey.of(state.saga_id, state.run, running) for state, running in self._shard.running()
        }
        return self._promised

    async def _recover(self, last: OwnerRecord) -> None:
        """Say in the log what became of what the last owner left."""
        left = Left(last, self._promised, self._executor.in_flight(self._partition), self._process_id)
        verdicts = deque(left.verdicts(self._shard, self._now()))
        if verdicts:
            log.info("owner.recovered", partition=self._partition, verdicts=len(verdicts))
        await self._commit_all(verdicts)
        await self._reconsider_limits()

    async def _reconsider_limits(self) -> None:
        """Another limit may have been deployed."""
        await self._writer.ready()
        transaction = self._begin()
        for key in list(self._shard.limits):
            transaction.apply_to_limit(key, None)
        await self._write(transaction)

    async def _commit_all(self, commands: deque[tuple[str, Command]]) -> None:
        """Apply the commands, in as many transactions as they need."""
        while commands:
            await self._writer.ready()
            transaction = self._begin()
            while commands and transaction.is_open:
                transaction.apply(*commands.popleft())
            await self._write(transaction)

    # -- one transaction after the other --------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        await self._may_write.wait()
        while self._announced and not self._has_work:
            dues = (self._shard.next_due(), self._unkept.due_at(self._latest), self._forgets_at)
            due = min(due for due in dues if due is not None)
            seconds = (due - self._now()).total_seconds()
            if self._unplayed:
                seconds = min(seconds, 0.0 if self._conductors.has_room else _CATCHING_UP_SECONDS)
            if seconds <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            await self._may_write.wait()

    @property
    def _has_work(self) -> bool:
        """Something that waits for no time."""
        return (
            bool(self._inbox)
            or self._executor.has_outcomes(self._partition)
            or self._letting_go.has_work(has_room=not self._executor.is_full)
            or (self._erasing is not None and self._erasing.has_work)
        )

    async def _turn(self) -> None:
        """Load, decide, persist; the mark in what is written acknowledges."""
        if not self._announced:
            await self._announce()
        forgets = await self._keep_up()
        await self._writer.ready()
        transaction = self._begin()
        if forgets and transaction.forget():
            transaction.remember_owner(self._left(self._still_promised(), released=False))
        while transaction.is_open and (outcome := self._executor.collect(self._partition)) is not None:
            self._collected.append(outcome)
            self._suspects.ended((outcome.saga_id, outcome.command.step))
            transaction.tell(outcome)
        while transaction.is_open and (due := self._shard.pop_due(self._latest)) is not None:
            if self._is_its_turn(*due):
                transaction.due(*due)
        for saga_id, progress in self._executor.collect_progress(self._partition).items():
            transaction.apply(saga_id, progress)
        while transaction.is_open and (said := self._executor.collect_said(self._partition)) is not None:
            transaction.apply(*said)
        self._letting_go.take(transaction, has_room=not self._executor.is_full)
        if self._erasing is not None:
            self._erasing.take(transaction)
        with consuming(self._settings.owners_group) as consumed:
            while transaction.is_open and self._inbox:
                transaction.take(consumed.take(self._inbox.popleft()))
            await self._write(transaction)
        self._collected.clear()
        if self._mark.is_due:
            await self._writer.commit((), self._mark.offsets(), self._settings.owners_group)
        self._catch_up()

    async def _keep_up(self) -> bool:
        """Write the snapshots that are due; whether finished sagas may be forgotten now. Of what is forgotten nothing
        may be left in the part of the log that the next owner folds."""
        due, forgets = self._unkept.due_at(self._latest), self._forgets_at <= self._latest
        if forgets or (due is not None and due <= self._latest):
            await self._keep_changed()
        if forgets:
            self._forgets_at = self._latest + _FORGETTING
        return forgets

    async def _keep_changed(self) -> None:
        """Snapshots of what has changed, and with the last of them from where on the log tells more."""
        changed = self._unkept.take()
        if not changed:
            return
        await self._writer.ready()
        transaction = self._begin()
        for saga_id in changed:
            transaction = await self._with_room(transaction)
            transaction.keep(saga_id)
        transaction.remember_owner(self._left(self._still_promised(), released=False))
        await self._write(transaction)

    def _is_its_turn(self, key: str, timer: Timer) -> bool:
        """What must not begin beside another one is put off."""
        suspect = suspect_of(self._shard.state(key), timer)
        if suspect is None or self._suspects.may_begin(suspect, monotonic()):
            return True
        self._shard.put_off(self._latest + _TURN_GAP, key, timer)
        return False

    def _begin(self) -> OwnerTransaction:
        return OwnerTransaction(self._place, Stamp(self._now(), self._epoch), random())

    async def _write(self, transaction: OwnerTransaction) -> None:
        """Attempts begin only after their `step.scheduled` is committed."""
        if transaction.is_empty:
            return
        taken = self._mark.next_offset if transaction.next_offset is None else transaction.next_offset
        if data_keys := transaction.data_keys:
            if self._keys is None:
                raise WithoutKeys
            await self._keys.settle(data_keys)
            transaction.seal(self._keys)
        with metrics.COMMITS.time():
            ends = await self._commit(transaction.records(), taken)
        events = transaction.counted.total()
        self._unkept.committed(transaction.changed, events, ends.get(self._events), self._latest)
        self._conductors.follow(self._partition, transaction.of_functions)
        for job in transaction.jobs():
            self._executor.submit(job)
            self._suspects.began((job.key.saga_id, job.key.step), monotonic())
        for kind, count in transaction.counted.items():
            metrics.EVENTS_WRITTEN.labels(kind).inc(count)

    async def _commit(self, made: Sequence[OutRecord], taken: int) -> Mapping[TopicPartition, int]:
        """Events alone need no transaction: one batch of them is all or nothing by itself (docs/decisions/0031)."""
        by_log = bool(made) and all(each.topic == self._events.topic for each in made)
        records = self._mark.put_on(made, taken)
        offsets = {} if by_log else self._mark.offsets()
        ends = await self._writer.commit(records, offsets, self._settings.owners_group)
        self._mark.committed(ends)
        return ends

    def _now(self) -> datetime:
        """The owner's time: never before the partition's last event, whatever the machine's clock says."""
        self._latest = max(self._clock.now(), self._latest)
        return self._latest


def _in_flight(keys: Iterable[AttemptKey]) -> tuple[AttemptInFlight, ...]:
    return tuple(AttemptInFlight(**key._asdict()) for key in sorted(keys))
