"""One run of a saga as its log tells it. `evolve` is the only place where a run changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import Phase
from sagahook_schemas.sagas import (
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaJoined,
    SagaRolledBack,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAttemptLost,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
)

State = Literal["PENDING", "EXECUTING", "COMPENSATING", "COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"]
StepStatus = Literal[
    "running", "retrying", "completed", "failed", "compensating", "compensated", "compensation_failed"
]

FINAL: frozenset[State] = frozenset({"COMPLETED", "ROLLED_BACK", "FAILED"})

RunKey = tuple[str, int]
"""saga id, run"""


@dataclass(frozen=True, slots=True)
class Step:
    """attempts: of the action, including the one that runs. error: of the last attempt that failed."""

    name: str
    status: StepStatus
    attempts: int = 0
    error: str | None = None
    compensation_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run, up to the event `sequence`.

    number: from the position of its first event. steps: in the order in which they were first scheduled.
    completed_steps: those whose action succeeded, in the order of completion; undoing one does not remove
    it. error: why the saga did not succeed; reason: why it is suspended. context: None where a later event
    is the first that is known.
    """

    saga_id: str
    run: int
    number: int
    sequence: int = 0
    name: str = ""
    version: int = 0
    state: State = "PENDING"
    user_id: str | None = None
    context: dict[str, JsonValue] | None = None
    total_steps: int = 0
    steps: tuple[Step, ...] = ()
    completed_steps: tuple[str, ...] = ()
    failed_step: str | None = None
    error: str | None = None
    reason: str | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def key(self) -> RunKey:
        return self.saga_id, self.run

    @property
    def attempts(self) -> int:
        """Attempts of all actions and compensations so far."""
        return sum(step.attempts + step.compensation_attempts for step in self.steps)


def evolve(run: Run | None, envelope: Envelope, event: Contract, number: int) -> Run:
    """The run after one event of its log.

    Total: an event at or below `sequence` was folded before and changes nothing; one that says nothing of the
    run's state only moves the sequence on; a log whose beginning is gone is told from where it begins.
    number: of the event's position, see `sagahook_schemas.identity.record_number`.
    """
    if run is None:
        run = Run(envelope.saga_id, envelope.run, number, name=envelope.subject)
    if envelope.sequence <= run.sequence:
        return run
    apply = _TRANSITIONS.get(type(event))
    after = apply(run, event) if apply is not None else run
    after = replace(after, sequence=envelope.sequence, updated_at=envelope.time)
    if isinstance(event, SagaStarted):
        after = replace(after, started_at=envelope.time)
    if after.state in FINAL and run.state not in FINAL:
        after = replace(after, finished_at=envelope.time)
    return after


def _started(run: Run, event: SagaStarted) -> Run:
    return replace(
        run,
        name=event.name,
        version=event.version,
        state="EXECUTING",
        user_id=event.user_id,
        context=event.context,
        total_steps=event.total_steps,
    )


def _scheduled(run: Run, event: StepScheduled) -> Run:
    if event.phase == "action":
        run = _with_step(run, event.step, status="running", attempts=event.attempt)
        return replace(run, state="EXECUTING", reason=None)
    run = _with_step(run, event.step, status="compensating", compensation_attempts=event.attempt)
    return replace(run, state="COMPENSATING", reason=None)


def _completed(run: Run, event: StepCompleted) -> Run:
    if event.phase == "compensation":
        return _with_step(run, event.step, status="compensated")
    run = _with_step(run, event.step, status="completed", error=None)
    return replace(run, completed_steps=(*run.completed_steps, event.step))


def _failed(run: Run, event: StepFailed) -> Run:
    status: StepStatus = "failed" if event.phase == "action" else "compensation_failed"
    return _with_step(run, event.step, status=status, error=event.error)


def _retry_scheduled(run: Run, event: StepRetryScheduled) -> Run:
    return _with_step(run, event.step, status=_between_attempts(event.phase))


def _lost(run: Run, event: StepAttemptLost) -> Run:
    return _with_step(run, event.step, status=_between_attempts(event.phase))


def _between_attempts(phase: Phase) -> StepStatus:
    return "retrying" if phase == "action" else "compensating"


def _compensating(run: Run, event: SagaCompensating) -> Run:
    return replace(run, state="COMPENSATING", failed_step=event.failed_step, error=event.error, reason=None)


def _saga_completed(run: Run, event: SagaCompleted) -> Run:
    return replace(run, state="COMPLETED", name=event.name, error=None, reason=None)


def _rolled_back(run: Run, event: SagaRolledBack) -> Run:
    return _ended(run, "ROLLED_BACK", event)


def _saga_failed(run: Run, event: SagaFailed) -> Run:
    return _ended(run, "FAILED", event)


def _ended(run: Run, state: State, event: SagaRolledBack | SagaFailed) -> Run:
    return replace(
        run, state=state, name=event.name, failed_step=event.failed_step, error=event.error, reason=None
    )


def _suspended(run: Run, event: SagaSuspended) -> Run:
    return replace(run, state="SUSPENDED", reason=event.reason)


def _joined(run: Run, event: SagaJoined) -> Run:
    """Joining changes no run; it is told by a link."""
    return run


def _with_step(run: Run, name: str, **changes: Any) -> Run:
    known = {step.name: step for step in run.steps}
    known[name] = replace(known.get(name) or Step(name, "running"), **changes)
    return replace(run, steps=tuple(known.values()))


# The mapping pairs each event class with the function of exactly that class, which no type can express.
_TRANSITIONS: dict[type[Contract], Callable[[Run, Any], Run]] = {
    SagaStarted: _started,
    SagaJoined: _joined,
    StepScheduled: _scheduled,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepRetryScheduled: _retry_scheduled,
    StepAttemptLost: _lost,
    SagaCompensating: _compensating,
    SagaCompleted: _saga_completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _saga_failed,
    SagaSuspended: _suspended,
}
