"""What is going to happen, in the order of the virtual clock."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from sagahook.runtime.transactions import OutRecord
from sagahook_runner.adapters.attempt import Outcome
from sagahook_runner.domain.commands import Command, DeadlineDue, StepDue
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_runner.domain.timers import RateDue, Timer
from sagahook_schemas.identity import child_id


class TimerDue(NamedTuple):
    key: str
    timer: Timer


class Said(NamedTuple):
    """An action's word of its progress."""

    saga_id: str
    command: Command


class Arrives(NamedTuple):
    """A participant's reply, made a command. It is on its way whatever becomes of the process."""

    record: OutRecord


class Dies(NamedTuple):
    """The process dies."""


What = Outcome | TimerDue | Said | Arrives | Dies


class Due(NamedTuple):
    at: datetime
    order: int
    what: What


class Schedule:
    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._order = count()

    def next_order(self) -> int:
        """What has a lower number happens first, of two at one moment."""
        return next(self._order)

    def add(self, at: datetime, what: What, order: int | None = None) -> None:
        heappush(self._heap, Due(at, self.next_order() if order is None else order, what))

    def take_timers(self, shard: Shard) -> None:
        """Those that the shard has set since the last time."""
        while (at := shard.timers.next_due()) is not None:
            timer = shard.timers.pop_due(at)
            if timer is not None:
                self.add(at, TimerDue(*timer))

    def peek(self, shard: Shard) -> Due | None:
        """What comes next; timers that nothing waits for any more are dropped."""
        while self._heap and not is_waited_for(self._heap[0], shard):
            heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> Due:
        return heappop(self._heap)

    def crash(self) -> None:
        """What was only in the memory of the process is gone."""
        self._heap = [due for due in self._heap if isinstance(due.what, Arrives)]


def is_waited_for(due: Due, shard: Shard) -> bool:
    """Whether anything follows from it. A timer of the past must not move the clock."""
    if not isinstance(due.what, TimerDue):
        return True
    key, timer = due.what
    if isinstance(timer, RateDue):
        return key in shard.limits and bool(shard.limits[key].waiting)
    state = shard.state(key)
    if isinstance(timer, StepDue):
        opened = state.open.get(timer.step)
        is_there = opened is not None and opened.at == due.at and opened.attempt == timer.attempt
        return is_there and state.run == timer.run and state.status in ("EXECUTING", "COMPENSATING")
    if isinstance(timer, DeadlineDue):
        runs = state.status in ("PENDING", "EXECUTING") and not state.failing
        return runs and state.deadline_at == due.at
    return True


def is_patience(due: Due, shard: Shard) -> bool:
    """Whether it ends the time that somebody outside has to give a signal: only a test lets that pass."""
    if not isinstance(due.what, TimerDue):
        return False
    key, timer = due.what
    state = shard.state(key)
    if isinstance(timer, StepDue):
        opened = state.open.get(timer.step)
        return opened is not None and opened.standing == "awaiting"
    return isinstance(timer, DeadlineDue) and waits_for_a_signal(state, shard)


def waits_for_a_signal(state: SagaState, shard: Shard) -> bool:
    """Also where one of its children does."""
    if state.status in FINAL:
        return False
    for opened in state.open.values():
        if opened.standing == "awaiting":
            return True
        if opened.standing == "child":
            child = shard.state(child_id(state.saga_id, state.run, opened.step))
            if waits_for_a_signal(child, shard):
                return True
    return False
