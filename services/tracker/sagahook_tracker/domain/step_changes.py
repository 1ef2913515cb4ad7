"""What the events of a run's steps change in it. Several steps may be open at once; each event names its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import rfc3339
from sagahook_schemas.identity import Phase
from sagahook_schemas.steps import (
    CompensationResolved,
    StepAttemptLost,
    StepAwaiting,
    StepChildRequested,
    StepCompleted,
    StepContinued,
    StepDeclared,
    StepExpanded,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
    StepSkipped,
    StepSleeping,
)
from sagahook_tracker.domain.runs import Run, Step, StepStatus

Changes = dict[str, Any]
"""Fields of a run and their new values: a copy for each of them would be most of the projector's work."""

_IDLE: frozenset[StepStatus] = frozenset({"waiting", "retrying"})
_OPEN: frozenset[StepStatus] = _IDLE | {"preparing", "running"}

_NO_WAIT: dict[str, Any] = {"signal": None, "due_at": None}


def give_up(run: Run, in_flight: bool) -> tuple[Step, ...]:
    """The steps once the saga has given up: what had begun has no outcome. in_flight: also what still runs."""
    over = _OPEN if in_flight else _IDLE
    return tuple(
        replace(step, status="cancelled", **_NO_WAIT) if step.status in over else step for step in run.steps
    )


def _scheduled(run: Run, event: StepScheduled) -> Changes:
    if event.phase == "compensation":
        steps = _with_step(
            run, event.step, status="compensating", compensation_attempts=event.attempt, **_NO_WAIT
        )
        return {"steps": steps, "state": "COMPENSATING", "reason": None, "cause": None}
    if event.phase == "prepare":
        steps = _with_step(run, event.step, status="preparing")
    else:
        steps = _with_step(run, event.step, status="running", attempts=event.attempt, **_NO_WAIT)
    return {"steps": steps, "state": "EXECUTING", "reason": None, "cause": None}


def _completed(run: Run, event: StepCompleted) -> Changes:
    if event.phase == "prepare":  # what it said comes as an event of its own
        return {"steps": _with_step(run, event.step, status="preparing", error=None)}
    if event.phase == "compensation":
        left = tuple(step for step in run.unresolved if step != event.step)
        steps = _with_step(run, event.step, status="compensated", **_NO_WAIT)
        return {"steps": steps, "unresolved": left}
    steps = _with_step(run, event.step, status="completed", error=None, **_NO_WAIT)
    if event.step.endswith("]") or event.step in run.completed_steps:
        return {"steps": steps}
    return {"steps": steps, "completed_steps": (*run.completed_steps, event.step)}


def _failed(run: Run, event: StepFailed) -> Changes:
    status: StepStatus = "compensation_failed" if event.phase == "compensation" else "failed"
    return {"steps": _with_step(run, event.step, status=status, error=event.error, **_NO_WAIT)}


def _retry_scheduled(run: Run, event: StepRetryScheduled) -> Changes:
    steps = _with_step(run, event.step, status=_again(event.phase), due_at=rfc3339(event.due_at))
    return {"steps": steps}


def _attempt_lost(run: Run, event: StepAttemptLost) -> Changes:
    return {"steps": _with_step(run, event.step, status=_again(event.phase))}


def _again(phase: Phase) -> StepStatus:
    return "compensating" if phase == "compensation" else "retrying"


def _continued(run: Run, event: StepContinued) -> Changes:
    status: StepStatus = "compensating" if event.phase == "compensation" else "waiting"
    return {"steps": _with_step(run, event.step, status=status, due_at=rfc3339(event.due_at))}


def _declared(run: Run, event: StepDeclared) -> Changes:
    return {"total_steps": max(run.total_steps, event.number)}


def _skipped(run: Run, event: StepSkipped) -> Changes:
    return {"steps": _with_step(run, event.step, status="skipped")}


def _sleeping(run: Run, event: StepSleeping) -> Changes:
    return {"steps": _with_step(run, event.step, status="waiting", due_at=rfc3339(event.due_at))}


def _awaiting(run: Run, event: StepAwaiting) -> Changes:
    due_at = None if event.due_at is None else rfc3339(event.due_at)
    return {"steps": _with_step(run, event.step, status="waiting", signal=event.signal, due_at=due_at)}


def _child_requested(run: Run, event: StepChildRequested) -> Changes:
    return {"steps": _with_step(run, event.step, status="running", child_id=event.child_id)}


def _expanded(run: Run, event: StepExpanded) -> Changes:
    return {"steps": _with_step(run, event.step, status="running")}


def _resolved(run: Run, event: CompensationResolved) -> Changes:
    """retry: the saga undoes again; skip: the effect is left behind, for good; resolve: it was undone by hand."""
    if event.how == "retry":
        return {"steps": _with_step(run, event.step, status="compensating"), "state": "COMPENSATING"}
    if event.how == "skip":
        return {"steps": _with_step(run, event.step, status="compensation_failed")}
    left = tuple(step for step in run.unresolved if step != event.step)
    return {"steps": _with_step(run, event.step, status="compensated"), "unresolved": left}


def _with_step(run: Run, name: str, **changes: Any) -> tuple[Step, ...]:
    steps = {step.name: step for step in run.steps}
    steps[name] = replace(steps.get(name) or Step(name, "running"), **changes)
    return tuple(steps.values())


# The mapping pairs each event class with the function of exactly that class, which no type can express.
STEP_CHANGES: dict[type[Contract], Callable[[Run, Any], Changes]] = {
    StepScheduled: _scheduled,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepRetryScheduled: _retry_scheduled,
    StepAttemptLost: _attempt_lost,
    StepContinued: _continued,
    StepDeclared: _declared,
    StepSkipped: _skipped,
    StepSleeping: _sleeping,
    StepAwaiting: _awaiting,
    StepChildRequested: _child_requested,
    StepExpanded: _expanded,
    CompensationResolved: _resolved,
}
