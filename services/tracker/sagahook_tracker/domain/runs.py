"""One run of a saga as its log tells it. `evolve` is the only place where a run changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.envelope import Envelope
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
    tell = _TELLS.get(type(event))
    changes = tell(run, event) if tell is not None else {}
    if isinstance(event, SagaStarted):
        changes["started_at"] = envelope.time
    if changes.get("state") in FINAL and run.state not in FINAL:
        changes["finished_at"] = envelope.time
    return replace(run, sequence=envelope.sequence, updated_at=envelope.time, **changes)


_Changes = dict[str, Any]
"""Fields of a run and their new values: a copy for each of them would be most of the projector's work."""


def _started(run: Run, event: SagaStarted) -> _Changes:
    return {
        "name": event.name,
        "version": event.version,
        "state": "EXECUTING",
        "user_id": event.user_id,
        "context": event.context,
        "total_steps": event.total_steps,
    }


def _scheduled(run: Run, event: StepScheduled) -> _Changes:
    if event.phase == "action":
        steps = _with_step(run, event.step, status="running", attempts=event.attempt)
        return {"steps": steps, "state": "EXECUTING", "reason": None}
    steps = _with_step(run, event.step, status="compensating", compensation_attempts=event.attempt)
    return {"steps": steps, "state": "COMPENSATING", "reason": None}


def _completed(run: Run, event: StepCompleted) -> _Changes:
    if event.phase == "compensation":
        return {"steps": _with_step(run, event.step, status="compensated")}
    return {
        "steps": _with_step(run, event.step, status="completed", error=None),
        "completed_steps": (*run.completed_steps, event.step),
    }


def _failed(run: Run, event: StepFailed) -> _Changes:
    status = "failed" if event.phase == "action" else "compensation_failed"
    return {"steps": _with_step(run, event.step, status=status, error=event.error)}


def _will_be_tried_again(run: Run, event: StepRetryScheduled | StepAttemptLost) -> _Changes:
    status = "retrying" if event.phase == "action" else "compensating"
    return {"steps": _with_step(run, event.step, status=status)}


def _compensating(run: Run, event: SagaCompensating) -> _Changes:
    return {
        "state": "COMPENSATING",
        "failed_step": event.failed_step,
        "error": event.error,
        "reason": None,
    }


def _saga_completed(run: Run, event: SagaCompleted) -> _Changes:
    return {"state": "COMPLETED", "name": event.name, "error": None, "reason": None}


def _rolled_back(run: Run, event: SagaRolledBack) -> _Changes:
    return _ended("ROLLED_BACK", event)


def _saga_failed(run: Run, event: SagaFailed) -> _Changes:
    return _ended("FAILED", event)


def _ended(state: State, event: SagaRolledBack | SagaFailed) -> _Changes:
    return {
        "state": state,
        "name": event.name,
        "failed_step": event.failed_step,
        "error": event.error,
        "reason": None,
    }


def _suspended(run: Run, event: SagaSuspended) -> _Changes:
    return {"state": "SUSPENDED", "reason": event.reason}


def _joined(run: Run, event: SagaJoined) -> _Changes:
    """Joining changes no run; a link tells it."""
    return {}


def _with_step(run: Run, name: str, **changes: Any) -> tuple[Step, ...]:
    steps = {step.name: step for step in run.steps}
    steps[name] = replace(steps.get(name) or Step(name, "running"), **changes)
    return tuple(steps.values())


# The mapping pairs each event class with the function of exactly that class, which no type can express.
_TELLS: dict[type[Contract], Callable[[Run, Any], _Changes]] = {
    SagaStarted: _started,
    SagaJoined: _joined,
    StepScheduled: _scheduled,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepRetryScheduled: _will_be_tried_again,
    StepAttemptLost: _will_be_tried_again,
    SagaCompensating: _compensating,
    SagaCompleted: _saga_completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _saga_failed,
    SagaSuspended: _suspended,
}
