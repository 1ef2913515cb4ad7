"""The world's inside: one partition, what its records lead to, and a clock that only this moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from sagahook.runtime.transactions import OutRecord
from sagahook.saga import SagaApp
from sagahook.testing.faults import NAP, Faults, attempted_by, changed
from sagahook.testing.log import Log
from sagahook.testing.participants import Standin, command_of
from sagahook.testing.process import Process
from sagahook.testing.records import as_consumed
from sagahook.testing.schedule import Arrives, Dies, Due, Said, Schedule, TimerDue, is_patience
from sagahook_runner.adapters.attempt import Job, Outcome
from sagahook_runner.domain.commands import AttemptFailed
from sagahook_runner.handlers.transaction import OwnerTransaction
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE

_TOO_MANY = 10_000
"""Things that happen one after the other, without a test that does anything."""

_COMMANDS, _EVENTS, _STATE = (topic.name("test") for topic in (SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE))
_STEPS = "test.saga.steps."


class Engine:
    """log, and what is under way to whom, outlive the process."""

    def __init__(self, app: SagaApp, now: datetime) -> None:
        self.now = now
        self.log = Log()
        self.faults = Faults()
        self.participants: dict[str, Standin] = {}
        self.schedule = Schedule()
        self._inbox: deque[OutRecord] = deque()
        self._asked: deque[OutRecord] = deque()
        self._jobs: deque[Job] = deque()
        self._offset = 0
        self.process = Process(app, epoch=1)

    def put(self, record: OutRecord) -> None:
        """A command, for the partition's owner."""
        self._inbox.append(record)

    async def run(self, until: datetime | None, *, patiently: bool) -> None:
        """Let happen what does by itself, up to that time; None: until nothing is left. patiently: but for what ends
        somebody's time to give a signal."""
        for _ in range(_TOO_MANY):
            await self.settle()
            due = self.schedule.peek(self.process.shard)
            if due is None or (until is not None and due.at > until):
                break
            if patiently and is_patience(due, self.process.shard):
                break
            self.schedule.pop()
            self.now = max(self.now, due.at)
            await self._happen(due)
        else:
            raise AssertionError(
                "the sagas do not come to rest (one may ask to be called again for ever): use auto_advance=False and "
                "let the time pass with advance()"
            )
        if until is not None:
            self.now = max(self.now, until)

    async def crash(self, reason: Literal["crash", "stopped"], app: SagaApp | None = None) -> None:
        """The process dies, or stops in order; another one takes over. app: what that one has deployed."""
        old = self.process
        await old.die()
        self.schedule.crash()
        self._jobs.clear()
        self.process = Process(app or old.app, old.epoch + 1)
        self.log.restore(self.process.shard)
        self.schedule.take_timers(self.process.shard)
        for saga_id, command in self.process.recover(reason):
            self._commit(partial(OwnerTransaction.apply, saga_id=saga_id, command=command))
        for key in list(self.process.shard.limits):
            self._commit(partial(OwnerTransaction.apply_to_limit, key=key, command=None))
        self.process.play_functions()

    # -- what takes no time -----------------------------------------------------------------------------------

    async def settle(self) -> None:
        while True:
            if self._inbox:
                self._take(self._inbox.popleft())
            elif self._jobs:
                await self._begin(self._jobs.popleft())
            elif self._asked:
                await self._ask(self._asked.popleft())
            elif (said := await self.process.listen()) is not None:
                self._commit(partial(OwnerTransaction.apply, saga_id=said[0], command=said[1]))
            else:
                return

    def _take(self, record: OutRecord) -> None:
        self._offset += 1
        consumed = as_consumed(record, self._offset)
        self._commit(lambda transaction: transaction.take(consumed))

    def _commit(self, decide: Callable[[OwnerTransaction], None]) -> None:
        """One transaction: everybody sees all of it, then its attempts begin."""
        transaction = self.process.transaction(self.now)
        decide(transaction)
        records, jobs = self.process.committed(transaction)
        for record in records:
            if record.topic == _EVENTS:
                self.log.append(record, self.now)
            elif record.topic == _COMMANDS:
                self._inbox.append(record)
            elif record.topic.startswith(_STEPS):
                self._asked.append(record)
            elif record.topic != _STATE:
                raise AssertionError(
                    f"a command was refused: {dict(record.headers).get('dlqreason', b'').decode()}"
                )
        self._jobs.extend(jobs)
        self.schedule.take_timers(self.process.shard)

    async def _begin(self, job: Job) -> None:
        """Call the action at once; its outcome is heard when its time is over."""
        order = self.schedule.next_order()
        attempted = attempted_by(job)
        fault = self.faults.take(attempted)
        how = fault.how if fault is not None else None
        limit = job.timeout if job.heartbeat is None else min(job.timeout, job.heartbeat)
        took = fault.seconds if fault is not None and how == "slow" else min(NAP, job.timeout / 2)
        is_called = how not in ("hang", "crash") or (fault is not None and fault.applied)
        outcome = None
        if is_called:
            stand = self.faults.stand_in(attempted)
            outcome, progress = await self.process.run(changed(job, fault, stand), took)
            if progress is not None:
                self.schedule.add(self._in(took / 2), Said(outcome.saga_id, progress))
        if how == "crash":
            self.schedule.add(self._in(took), Dies(), order)
        elif how == "hang" or took >= job.timeout:
            seconds = limit if how == "hang" else job.timeout
            self.schedule.add(self._in(seconds), given_up(job, seconds), order)
        elif outcome is not None:
            self.schedule.add(self._in(took), outcome, order)

    async def _ask(self, record: OutRecord) -> None:
        name = record.topic.removeprefix(_STEPS)
        if name not in self.participants:
            raise AssertionError(
                f"nobody plays the participant {name!r}: world.participant({name!r}, handler)"
            )
        replied = await self.participants[name].ask(record)
        if replied is not None:
            took, reply = replied
            self.schedule.add(self._in(took), Arrives(command_of(reply, self._in(took))))

    # -- what happens at its time -----------------------------------------------------------------------------

    async def _happen(self, due: Due) -> None:
        match due.what:
            case Dies():
                await self.crash("crash")
            case Arrives(record):
                self._inbox.append(record)
            case Outcome() as outcome:
                self._commit(lambda transaction: transaction.tell(outcome))
            case Said(saga_id, command):
                self._commit(lambda transaction: transaction.apply(saga_id, command))
            case TimerDue(key, timer):
                self._commit(lambda transaction: transaction.due(key, timer))

    def _in(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)


def given_up(job: Job, seconds: float) -> Outcome:
    """As the executor gives up an attempt that does not answer."""
    if job.heartbeat is not None and seconds < job.timeout:
        error = f"HeartbeatLost: no sign of life for {job.heartbeat:g} s"
    else:
        error = f"TimeoutError: no answer within {job.timeout:g} s"
    key = job.key
    failed = AttemptFailed(
        key.run, key.step, key.phase, key.attempt, error, True, True, round(seconds * 1000), 0.5
    )
    return Outcome(key.saga_id, failed)
