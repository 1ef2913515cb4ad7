"""What a test lets go wrong: which attempts, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple, cast

from sagahook.saga import StepContext
from sagahook.saga.calls import is_async
from sagahook_runner.adapters.attempt import Job
from sagahook_runner.domain.state import item_of
from sagahook_schemas.identity import Phase

How = Literal["fail", "hang", "crash", "slow"]

NAP = 0.1
"""Seconds that an attempt takes on the virtual clock, where nobody says otherwise."""


class Attempted(NamedTuple):
    saga: str
    step: str
    phase: Phase
    attempt: int


@dataclass
class Fault:
    """step: its name, or that of one item (`charge[1]`). saga None: whichever has it. on: which attempts, from 1; None:
    any. times: how often; None: always. applied: the action is called all the same, and its answer lost. seconds: how
    long a slow one takes."""

    how: How
    step: str
    phase: Phase
    saga: str | None = None
    on: frozenset[int] | None = None
    times: int | None = None
    applied: bool = False
    error: BaseException | type[BaseException] = RuntimeError
    seconds: float = 0.0

    def is_of(self, attempted: Attempted) -> bool:
        return (
            self.step in (attempted.step, item_of(attempted.step)[0])
            and self.phase == attempted.phase
            and self.saga in (None, attempted.saga)
            and (self.on is None or attempted.attempt in self.on)
            and self.times != 0
        )

    def raised(self) -> BaseException:
        return self.error() if isinstance(self.error, type) else self.error


@dataclass
class Stand:
    """What is called instead of a step's own code."""

    step: str
    phase: Phase
    saga: str | None
    function: Callable[..., Any]


@dataclass
class Faults:
    """The newest that fits an attempt is the one that happens to it."""

    faults: list[Fault] = field(default_factory=list)
    stands: list[Stand] = field(default_factory=list)

    def take(self, attempted: Attempted) -> Fault | None:
        for fault in reversed(self.faults):
            if fault.is_of(attempted):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def stand_in(self, attempted: Attempted) -> Callable[..., Any] | None:
        for stand in reversed(self.stands):
            names = (attempted.step, item_of(attempted.step)[0])
            if (
                stand.step in names
                and stand.phase == attempted.phase
                and stand.saga in (None, attempted.saga)
            ):
                return stand.function
        return None


def attempted_by(job: Job) -> Attempted:
    return Attempted(context_of(job).saga, job.key.step, job.key.phase, job.key.attempt)


def context_of(job: Job) -> StepContext:
    return cast("StepContext", cast("partial[Any]", job.call).args[0])


def changed(job: Job, fault: Fault | None, stand: Callable[..., Any] | None) -> Job:
    """The job as it is to be run: it ends as the fault says. stand: what is called instead of the step's own code."""
    if job.find is None:
        return _changed(job, fault, stand)
    find = job.find

    async def found() -> Job:
        return _changed(await find(), fault, stand)

    return replace(job, find=found)


def _changed(job: Job, fault: Fault | None, stand: Callable[..., Any] | None) -> Job:
    call: Callable[[], Any] = job.call
    runs_in_loop = job.is_async
    if stand is not None:
        call = partial(stand, *cast("partial[Any]", job.call).args)
        runs_in_loop = is_async(stand)
    failing = fault if fault is not None and fault.how == "fail" else None
    wrapped = _awaited(call, failing) if runs_in_loop else _plain(call, failing)
    return replace(job, call=wrapped, is_async=runs_in_loop)


def _awaited(call: Callable[[], Any], failing: Fault | None) -> Callable[[], Awaitable[Any]]:
    async def run() -> Any:
        result = await call() if failing is None or failing.applied else None
        # What it said of its progress is heard in the next turn of the loop, and must not come after its end.
        await asyncio.sleep(0)
        if failing is not None:
            raise failing.raised()
        return result

    return run


def _plain(call: Callable[[], Any], failing: Fault | None) -> Callable[[], Any]:
    def run() -> Any:
        result = call() if failing is None or failing.applied else None
        if failing is not None:
            raise failing.raised()
        return result

    return run
