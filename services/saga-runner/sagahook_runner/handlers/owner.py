"""The owner of one partition: the only writer of its saga log and its snapshots.

Outcomes, commands and due timers gather while a transaction is under way; the next one carries them all, with how far
the commands were taken. Memory runs ahead of the log by that one transaction, so after any failure of it the whole
owner is thrown away and a new one restores (design.md §3). What it writes, and how, is its ledger's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord

from sagahook.runtime.clock import Clock
from sagahook.runtime.inbox import Inbox
from sagahook.runtime.logging import get_logger
from sagahook.runtime.partition_workers import GroupOffset, OffsetsLost
from sagahook.runtime.telemetry_kafka import consuming
from sagahook.runtime.transactions import TransactionalWriter
from sagahook.saga import SagaApp
from sagahook_runner.adapters.attempt import Outcome
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.restore import restore
from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.domain.timers import Timer
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.erasing import Erasing
from sagahook_runner.handlers.handing import Handed, Handing
from sagahook_runner.handlers.ledger import Ledger
from sagahook_runner.handlers.left import Left
from sagahook_runner.handlers.letting_go import LettingGo
from sagahook_runner.handlers.pace import MANY, rests
from sagahook_runner.handlers.suspects import Suspects, suspect_of
from sagahook_runner.handlers.transaction import OwnerTransaction, Place
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.topics import SAGA_COMMANDS

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
    """See `sagahook.runtime.partition_workers.PartitionWorker` for when each method is called."""

    def __init__(
        self,
        partition: int,
        *,
        settings: RunnerSettings,
        app: SagaApp,
        executor: Executor,
        conductors: Conductors,
        writer: TransactionalWriter,
        offset: GroupOffset,
        clock: Clock,
        process_id: str,
        partitions: int,
        suspects: Suspects,
        controls: Controls,
        handing: Handing,
        keys: DataKeys | None = None,
    ) -> None:
        self._keys = keys
        self._partition = partition
        self._settings = settings
        self._executor = executor
        self._conductors = conductors
        self._writer = writer
        self._offset = offset
        self._process_id = process_id
        self._suspects = suspects
        self._shard = Shard(Definitions(app.definitions()), timedelta(seconds=settings.deduplication_window))
        self._app = app
        place = Place(partition, partitions, settings, app, self._shard, conductors, controls)
        self._ledger = Ledger(
            place, writer, clock, settings.owners_group, process_id, offset, keys, self._begin_attempts
        )
        self._controls = controls
        self._letting_go = LettingGo(self._shard, controls)
        self._erasing = Erasing(self._shard, keys) if keys is not None else None
        self._forgets_at = self._ledger.latest
        self._inbox = Inbox()
        self._collected: list[Outcome] = []
        self._unplayed: deque[str] = deque()
        self._announced = False
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._rests = rests()
        self._wake = asyncio.Event()
        self._handing = handing
        self._handed = Handed(self._wake.set, lambda: self._takes_starts)

    # -- the life of an owner -------------------------------------------------------------------------------

    async def take_over(self) -> int:
        await self._writer.start()
        start = await self._offset.start()
        restored = await restore(self._settings, self._partition, self._shard, self._keys)
        if restored.owner.epoch and not start.was_committed:
            raise OffsetsLost(
                f"partition {self._partition} of {self._settings.topic(SAGA_COMMANDS)} had an owner, but the group "
                f"{self._settings.owners_group} has no offset for it (Kafka forgets those of a group that was empty "
                "for a week): set the group's offset to the end of the topic, then start the runner"
            )
        self._shard.first_run = max(self._shard.first_run, restored.owner.first_run)
        self._inbox.next_offset = self._ledger.go_on(start, restored)
        self._executor.attach(self._partition, self._wake.set)
        if restored.from_log:
            await self._ledger.keep_everything()
        await self._ledger.announce_behind(restored.end)
        self._announced = True
        self._drop_functions()
        await self._recover(restored.owner)
        self._play_functions()
        self._controls.watch(self._wake.set)
        if self._keys is not None:
            self._keys.watch(self._wake.set)
        self._may_write.set()
        self._handing.begin(self._partition, self._handed)
        return self._inbox.next_offset

    async def run(self) -> None:
        while not self._executor.is_draining:
            await self._wait_for_work()
            await self._rests.over()
            async with self._writing:
                if self._may_write.is_set() and not self._executor.is_draining:
                    await self._turn()
        # The process stops: what is decided now could not begin here any more. `let_go` says the rest.
        self._handed.refuse()
        await asyncio.Event().wait()

    async def let_go(self) -> None:
        self._may_write.clear()
        self._handed.refuse_waiting()
        async with self._writing:
            self._handed.refuse()
            lost = self._executor.collect_lost(self._partition)
            await self._ledger.write_all(deque((outcome.saga_id, outcome.command) for outcome in lost))
            await self._ledger.keep_changed()
            self._executor.detach(self._partition)
            await self._ledger.release(self._executor.in_flight(self._partition))
            self._announced = False

    def resume(self) -> None:
        self._executor.resume(self._partition, self._wake.set)
        self._may_write.set()
        self._wake.set()

    async def close(self) -> None:
        self._may_write.clear()
        self._handing.end(self._partition, self._handed)
        self._controls.unwatch(self._wake.set)
        if self._keys is not None:
            self._keys.unwatch(self._wake.set)
        self._ledger.close()
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
    def _takes_starts(self) -> bool:
        """Whether what is handed to it now will be written soon, and overtakes no command."""
        is_free = not self._inbox and not self._executor.is_full and not self._executor.is_draining
        return is_free and self._may_write.is_set()

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
            if state.status != "EXECUTING" or not is_code(self._app.get(state.name, state.version)):
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

    async def _recover(self, last: OwnerRecord) -> None:
        """Say in the log what became of what the last owner left."""
        here = self._executor.in_flight(self._partition)
        left = Left(last, self._ledger.still_promised(), here, self._process_id)
        verdicts = deque(left.verdicts(self._shard, self._ledger.now()))
        if verdicts:
            log.info("owner.recovered", partition=self._partition, verdicts=len(verdicts))
        await self._ledger.write_all(verdicts)
        await self._reconsider_limits()

    async def _reconsider_limits(self) -> None:
        """Another limit may have been deployed."""
        transaction = await self._ledger.open()
        for key in list(self._shard.limits):
            transaction.apply_to_limit(key, None)
        await self._ledger.write(transaction)

    # -- one transaction after the other --------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        await self._may_write.wait()
        while self._announced and not self._has_work:
            dues = (self._shard.timers.next_due(), self._ledger.keeps_at(), self._forgets_at)
            due = min(due for due in dues if due is not None)
            seconds = (due - self._ledger.now()).total_seconds()
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
            or bool(self._handed)
            or self._executor.has_outcomes(self._partition)
            or self._letting_go.has_work(has_room=not self._executor.is_full)
            or (self._erasing is not None and self._erasing.has_work)
        )

    async def _turn(self) -> None:
        """Load, decide, persist; the mark in what is written acknowledges."""
        began = monotonic()
        if not self._announced:
            await self._ledger.announce()
            self._announced = True
        forgets = await self._keep_up()
        transaction = await self._ledger.open()
        if forgets and transaction.forget():
            self._ledger.remember_owner(transaction)
        self._take_what_became_due(transaction)
        with consuming(self._settings.owners_group) as consumed:
            while transaction.is_open and self._inbox:
                transaction.take(consumed.take(self._inbox.popleft()))
            await self._ledger.write(transaction)
        self._handed.written()
        self._collected.clear()
        self._ledger.tell_the_group()
        self._catch_up()
        self._rests.begin(began, is_behind=transaction.counted.total() >= MANY)

    def _take_what_became_due(self, transaction: OwnerTransaction) -> None:
        """All but the commands. Starts first: their routers stand still until they are written."""
        while transaction.is_open and self._handed:
            self._handed.take(transaction.take_asked)
        while transaction.is_open and (outcome := self._executor.collect(self._partition)) is not None:
            self._collected.append(outcome)
            self._suspects.ended((outcome.saga_id, outcome.command.step))
            transaction.tell(outcome)
        while transaction.is_open and (due := self._shard.timers.pop_due(self._ledger.latest)) is not None:
            if self._is_its_turn(*due):
                transaction.due(*due)
        for saga_id, progress in self._executor.collect_progress(self._partition).items():
            transaction.apply(saga_id, progress)
        while transaction.is_open and (said := self._executor.collect_said(self._partition)) is not None:
            transaction.apply(*said)
        self._letting_go.take(transaction, has_room=not self._executor.is_full)
        if self._erasing is not None:
            self._erasing.take(transaction)

    def _begin_attempts(self, transaction: OwnerTransaction) -> None:
        """What the transaction scheduled is in the log now."""
        self._conductors.follow(self._partition, transaction.of_functions)
        for job in transaction.jobs():
            self._executor.submit(job)
            self._suspects.began((job.key.saga_id, job.key.step), monotonic())

    async def _keep_up(self) -> bool:
        """Write the snapshots that are due; whether finished sagas may be forgotten now. Of what is forgotten nothing
        may be left in the part of the log that the next owner folds."""
        now, due = self._ledger.latest, self._ledger.keeps_at()
        forgets = self._forgets_at <= now
        if forgets or (due is not None and due <= now):
            await self._ledger.keep_changed()
        if forgets:
            self._forgets_at = now + _FORGETTING
        return forgets

    def _is_its_turn(self, key: str, timer: Timer) -> bool:
        """What must not begin beside another one is put off."""
        suspect = suspect_of(self._shard.state(key), timer)
        if suspect is None or self._suspects.may_begin(suspect, monotonic()):
            return True
        self._shard.timers.set(self._ledger.latest + _TURN_GAP, key, timer)
        return False
