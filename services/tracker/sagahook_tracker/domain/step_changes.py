"""What the events of a run's steps change in it. Several steps may be open at once; each event names its own."""

from __future__ import annotations

from collections.abc import Callable
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

_IDLE: frozenset[StepStatus] = frozenset({"waiting", "retrying"})
_OPEN: frozenset[StepStatus] = _IDLE | {"preparing", "running"}


def give_up(run: Run, in_flight: bool) -> None:
    """The saga has given up: what had begun has no outcome. in_flight: also what still runs."""
    over = _OPEN if in_flight else _IDLE
    for step in run.steps:
        if step.status in over:
            step.status = "cancelled"
            _wait_no_more(step)


def _scheduled(run: Run, event: StepScheduled) -> None:
    step = _step(run, event.step)
    run.reason = run.cause = None
    if event.phase == "prepare":
        step.status = "preparing"
        run.state = "EXECUTING"
        return
    _wait_no_more(step)
    if event.phase == "compensation":
        step.status, step.compensation_attempts = "compensating", event.attempt
        run.state = "COMPENSATING"
    else:
        step.status, step.attempts = "running", event.attempt
        run.state = "EXECUTING"


def _completed(run: Run, event: StepCompleted) -> None:
    step = _step(run, event.step)
    if event.phase == "prepare":  # what it said comes as an event of its own
        step.status, step.error = "preparing", None
        return
    _wait_no_more(step)
    if event.phase == "compensation":
        step.status = "compensated"
        _resolve(run, event.step)
        return
    step.status, step.error = "completed", None
    if not step.is_item and event.step not in run.completed_steps:
        run.completed_steps = (*run.completed_steps, event.step)


def _failed(run: Run, event: StepFailed) -> None:
    step = _step(run, event.step)
    step.status = "compensation_failed" if event.phase == "compensation" else "failed"
    step.error = event.error
    _wait_no_more(step)


def _retry_scheduled(run: Run, event: StepRetryScheduled) -> None:
    step = _step(run, event.step)
    step.status, step.due_at = _again(event.phase), rfc3339(event.due_at)


def _attempt_lost(run: Run, event: StepAttemptLost) -> None:
    _step(run, event.step).status = _again(event.phase)


def _again(phase: Phase) -> StepStatus:
    return "compensating" if phase == "compensation" else "retrying"


def _continued(run: Run, event: StepContinued) -> None:
    step = _step(run, event.step)
    step.status = "compensating" if event.phase == "compensation" else "waiting"
    step.due_at = rfc3339(event.due_at)


def _declared(run: Run, event: StepDeclared) -> None:
    run.total_steps = max(run.total_steps, event.number)


def _skipped(run: Run, event: StepSkipped) -> None:
    _step(run, event.step).status = "skipped"


def _sleeping(run: Run, event: StepSleeping) -> None:
    step = _step(run, event.step)
    step.status, step.due_at = "waiting", rfc3339(event.due_at)


def _awaiting(run: Run, event: StepAwaiting) -> None:
    step = _step(run, event.step)
    step.status, step.signal = "waiting", event.signal
    step.due_at = None if event.due_at is None else rfc3339(event.due_at)


def _child_requested(run: Run, event: StepChildRequested) -> None:
    step = _step(run, event.step)
    step.status, step.child_id = "running", event.child_id


def _expanded(run: Run, event: StepExpanded) -> None:
    _step(run, event.step).status = "running"


def _resolved(run: Run, event: CompensationResolved) -> None:
    """retry: the saga undoes again; skip: the effect is left behind, for good; resolve: it was undone by hand."""
    step = _step(run, event.step)
    if event.how == "retry":
        step.status = "compensating"
        run.state = "COMPENSATING"
    elif event.how == "skip":
        step.status = "compensation_failed"
    else:
        step.status = "compensated"
        _resolve(run, event.step)


def _resolve(run: Run, name: str) -> None:
    if name in run.unresolved:
        run.unresolved = tuple(step for step in run.unresolved if step != name)


def _wait_no_more(step: Step) -> None:
    step.signal = step.due_at = None


def _step(run: Run, name: str) -> Step:
    """The step; a new one where it was not named before."""
    for step in reversed(run.steps):  # events mostly are of the newest
        if step.name == name:
            return step
    step = Step(name, "running")
    run.steps = (*run.steps, step)
    return step


# The mapping pairs each event class with the function of exactly that class, which no type can express.
STEP_CHANGES: dict[type[Contract], Callable[[Run, Any], None]] = {
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
