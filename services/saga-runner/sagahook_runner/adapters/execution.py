"""Runs attempts outside the owners' loops, in a bounded pool, and brings their outcomes back.

The executor belongs to the process, not to an owner: an attempt goes on while its partition changes hands. Its
outcome then waits until it is known whether the partition came back or belongs to another process.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable

from sagahook.saga.context import Continue
from sagahook_runner.adapters.attempt import AttemptKey, Job, NeverBegun, Outcome, failed_attempt
from sagahook_runner.adapters.deadline import Deadline
from sagahook_runner.adapters.tracing import observed
from sagahook_runner.domain.commands import (
    Attempt,
    AttemptContinued,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Progress,
)
from sagahook_schemas.definitions import Kind
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import kept

_DRAIN_SECONDS = 8.0
_CANCEL_SECONDS = 1.0


@dataclass(slots=True)
class _Mailbox:
    """Outcomes of one partition's attempts, the newest progress of each saga, and what functions ask for. wake None:
    nobody owns it here at the moment, outcomes wait."""

    waiting: deque[Outcome] = field(default_factory=deque)
    progress: dict[str, Progress] = field(default_factory=dict)
    said: deque[tuple[str, Command]] = field(default_factory=deque)
    wake: Callable[[], None] | None = None
    elsewhere: bool = False


class Executor:
    """forward: sends the outcome of an attempt whose saga another process owns now. caps: attempts of a kind that run
    at once; what is not named is bounded by `max_running` alone. drain: seconds that those under way get at a stop."""

    def __init__(
        self,
        *,
        max_running: int,
        threads: int,
        forward: Callable[[Outcome], None],
        caps: Mapping[Kind, int] | None = None,
        drain: float = _DRAIN_SECONDS,
    ) -> None:
        self._max_running = max_running
        self._caps = dict(caps or {})
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="action")
        self._forward = forward
        self._free_threads = asyncio.Semaphore(threads)
        self._queues: dict[Kind, deque[Job]] = {}
        self._busy: Counter[Kind] = Counter()
        self._set_aside: dict[int, list[Job]] = {}
        self._running: dict[AttemptKey, tuple[int, asyncio.Task[None]]] = {}
        self._mailboxes: dict[int, _Mailbox] = {}
        self._draining = False
        self._drain_seconds = drain

    def attach(self, partition: int, wake: Callable[[], None]) -> None:
        """A new owner of the partition works here: `wake` is called when an outcome waits for it. What its
        predecessor had not begun is its to decide anew."""
        self._set_aside.pop(partition, None)
        mailbox = self._mailbox(partition)
        mailbox.wake, mailbox.elsewhere = wake, False
        if mailbox.waiting:
            wake()

    def detach(self, partition: int) -> None:
        """The owner stopped; whether another one here follows is not known yet. What has not begun waits."""
        self._mailbox(partition).wake = None
        for kind, queue in self._queues.items():
            self._set_aside.setdefault(partition, []).extend(
                job for job in queue if job.partition == partition
            )
            self._queues[kind] = deque(job for job in queue if job.partition != partition)

    def resume(self, partition: int, wake: Callable[[], None]) -> None:
        """The same owner goes on, and with it what had not begun."""
        set_aside = self._set_aside.pop(partition, [])
        self.attach(partition, wake)
        for job in set_aside:
            self.submit(job)

    def moved(self, partition: int) -> None:
        """Another process owns the partition: what waits and what still comes is forwarded to it."""
        self._set_aside.pop(partition, None)
        mailbox = self._mailbox(partition)
        mailbox.wake, mailbox.elsewhere = None, True
        while mailbox.waiting:
            self._forward(mailbox.waiting.popleft())

    def collect(self, partition: int) -> Outcome | None:
        waiting = self._mailbox(partition).waiting
        return waiting.popleft() if waiting else None

    def collect_progress(self, partition: int) -> dict[str, Progress]:
        """What sagas said of their progress since the last time."""
        mailbox = self._mailbox(partition)
        told, mailbox.progress = mailbox.progress, {}
        return told

    def say(self, partition: int, saga_id: str, command: Command) -> None:
        """What a function asks of its saga's owner. It is asked anew by whoever plays the function next."""
        mailbox = self._mailbox(partition)
        mailbox.said.append((saga_id, command))
        if mailbox.wake is not None:
            mailbox.wake()

    def collect_said(self, partition: int) -> tuple[str, Command] | None:
        said = self._mailbox(partition).said
        return said.popleft() if said else None

    def forget_said(self, partition: int) -> None:
        self._mailbox(partition).said.clear()

    def give_back(self, partition: int, outcomes: Iterable[Outcome]) -> None:
        """Outcomes that were collected, but whose transaction may have been lost."""
        mailbox = self._mailbox(partition)
        mailbox.waiting.extendleft(reversed(list(outcomes)))
        if mailbox.elsewhere:
            self.moved(partition)

    def collect_lost(self, partition: int) -> list[Outcome]:
        """The attempts that a drain cancelled: no other process can tell of them."""
        mailbox = self._mailbox(partition)
        lost = [outcome for outcome in mailbox.waiting if isinstance(outcome.command, AttemptLost)]
        mailbox.waiting = deque(outcome for outcome in mailbox.waiting if outcome not in lost)
        return lost

    def has_outcomes(self, partition: int) -> bool:
        mailbox = self._mailbox(partition)
        return bool(mailbox.waiting or mailbox.progress or mailbox.said)

    def in_flight(self, partition: int) -> set[AttemptKey]:
        """Every attempt of the partition that began here and whose outcome was not collected yet."""
        keys = {key for key, (where, _) in self._running.items() if where == partition}
        for saga_id, command in self._mailbox(partition).waiting:
            keys.add(AttemptKey.of(saga_id, command.run, command))
        return keys

    @property
    def is_draining(self) -> bool:
        """Whether the process is to stop and nothing begins any more."""
        return self._draining

    @property
    def load(self) -> int:
        """Attempts that run or wait to run."""
        return len(self._running) + sum(map(len, self._queues.values()))

    @property
    def is_full(self) -> bool:
        return self.load >= 2 * self._max_running

    def submit(self, job: Job) -> None:
        if self._draining:
            return  # its owner lets go next, and the one after it finds the attempt never begun
        if self._has_room(job.kind):
            self._begin(job)
        else:
            self._queues.setdefault(job.kind, deque()).append(job)

    async def drain(self) -> None:
        """Begin nothing more; give what runs a while to end, then cancel it (`stopped`, in the log)."""
        self._draining = True
        running = [task for _, task in self._running.values()]
        if running:
            _, late = await asyncio.wait(running, timeout=self._drain_seconds)
            for task in late:
                task.cancel()
            if late:
                # One that will not be cancelled is left: its next owner waits for it as long as for any other.
                await asyncio.wait(late, timeout=_CANCEL_SECONDS)
        self._queues.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _mailbox(self, partition: int) -> _Mailbox:
        mailbox = self._mailboxes.get(partition)
        if mailbox is None:
            mailbox = self._mailboxes[partition] = _Mailbox()
        return mailbox

    def _has_room(self, kind: Kind) -> bool:
        return len(self._running) < self._max_running and self._busy[kind] < self._caps.get(
            kind, self._max_running
        )

    def _begin_what_waits(self) -> None:
        for kind, queue in self._queues.items():
            while queue and not self._draining and self._has_room(kind):
                self._begin(queue.popleft())

    def _begin(self, job: Job) -> None:
        self._busy[job.kind] += 1
        task = asyncio.create_task(self._run(job))
        self._running[job.key] = (job.partition, task)

    async def _run(self, job: Job) -> None:
        command = await self._attempt(job)
        del self._running[job.key]
        self._busy[job.kind] -= 1
        self._begin_what_waits()
        outcome = Outcome(job.key.saga_id, command)
        mailbox = self._mailbox(job.partition)
        if mailbox.elsewhere:
            self._forward(outcome)
            return
        mailbox.waiting.append(outcome)
        if mailbox.wake is not None:
            mailbox.wake()

    async def _attempt(self, job: Job) -> Attempt:
        """Whatever the action does is an outcome."""
        if job.find is not None:
            try:
                job = await job.find()
            except (NeverBegun, asyncio.CancelledError):
                return AttemptLost(*job.key[1:], "never_begun")
        if job.is_async:
            return await observed(job, self._timed)
        # The time of an attempt is its own: it does not begin to run out while the attempt waits for a thread.
        try:
            async with self._free_threads:
                return await observed(job, self._timed)
        except asyncio.CancelledError:
            return AttemptLost(*job.key[1:], "never_begun")

    async def _timed(self, job: Job) -> Attempt:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = Deadline(loop)
        deadline.set(began + job.timeout)
        try:
            self._listen(job, deadline, began)
            if job.is_async:
                result = await job.call()  # type: ignore[misc]  # is_async says that it is awaitable
            else:
                result = await loop.run_in_executor(self._threads, copy_context().run, job.call)
                if isawaitable(result):
                    result = await result
            duration = _milliseconds(loop.time() - began)
            if isinstance(result, Continue):
                carried = kept(result.carry, CONTEXT_LIMIT)
                return AttemptContinued(*job.key[1:], result.seconds, carried)
            # Nobody reads what a compensation returns.
            told_result = None if job.key.phase == "compensation" else kept(result, CONTEXT_LIMIT)
            return AttemptSucceeded(*job.key[1:], told_result, duration)
        except (Exception, asyncio.CancelledError, SystemExit) as raised:
            if deadline.was_cancelled_by_others:
                return AttemptLost(*job.key[1:], "stopped")
            return failed_attempt(job, raised, _milliseconds(loop.time() - began), cut_off=deadline.passed)
        finally:
            deadline.end()
            job.pulse.end()

    def _listen(self, job: Job, deadline: Deadline, began: float) -> None:
        """An attempt with a heartbeat is given up when its time is up or its last sign of life too old."""
        told = partial(self._note_progress, job)
        heartbeat = job.heartbeat
        if heartbeat is None:
            job.pulse.listen(None, told)
            return
        loop = asyncio.get_running_loop()

        def beat() -> None:
            deadline.set(min(began + job.timeout, loop.time() + heartbeat))

        job.pulse.listen(beat, told)
        beat()

    def _note_progress(self, job: Job, fraction: float, message: str) -> None:
        mailbox = self._mailbox(job.partition)
        if mailbox.elsewhere:
            return  # it is not worth a command: the next one that its own process tells follows soon
        mailbox.progress[job.key.saga_id] = Progress(job.key.run, fraction, message)
        if mailbox.wake is not None:
            mailbox.wake()


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
