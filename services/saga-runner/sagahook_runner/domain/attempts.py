"""What follows from the outcome of an attempt."""

from __future__ import annotations

from datetime import timedelta

from sagahook_runner.domain.commands import (
    ANY_ATTEMPT,
    Attempt,
    AttemptContinued,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
)
from sagahook_runner.domain.decision import Decision
from sagahook_runner.domain.known_steps import not_deployed, terms
from sagahook_runner.domain.preparation import unfit
from sagahook_runner.domain.state import FINAL, Open, SagaState
from sagahook_schemas.definitions import Retry
from sagahook_schemas.sagas import SagaSuspended
from sagahook_schemas.steps import (
    StepAttemptLost,
    StepCompleted,
    StepContinued,
    StepFailed,
    StepRetryScheduled,
)

_LONGEST = 365 * 86_400.0

MAX_LOSSES = 3
"""So many crashes of its process during one step suspend the saga: a poison action never crash-loops a fleet."""


def succeeded(d: Decision, command: AttemptSucceeded) -> None:
    attempt = _awaited(d.state, command)
    if attempt is None:
        return
    if command.phase == "prepare" and d.definition is not None:
        wrong = unfit(d.step(command.step), command.result)
        if wrong is not None:
            error = f"PreparationError: {wrong}"
            which = (command.run, command.step, command.phase, command.attempt)
            failed(d, AttemptFailed(*which, error, False, False, command.duration_ms, 0.0))
            return
    d.emit(
        StepCompleted(
            step=command.step,
            phase=command.phase,
            attempt=attempt.attempt,
            result=command.result,
            duration_ms=command.duration_ms,
        )
    )
    d.go_on()


def failed(d: Decision, command: AttemptFailed) -> None:
    attempt = _awaited(d.state, command)
    if attempt is None:
        return
    d.emit(
        StepFailed(
            step=command.step,
            phase=command.phase,
            attempt=attempt.attempt,
            error=command.error,
            outcome="unknown" if command.unknown else "failed",
            duration_ms=command.duration_ms,
        )
    )
    if d.state.status == "SUSPENDED":
        return
    if d.definition is None:
        d.emit(not_deployed(d.state))
        return
    delay = _retry_delay(d, command) if attempt.standing == "running" and not d.state.failing else None
    if delay is not None:
        d.emit(
            StepRetryScheduled(
                step=command.step, phase=command.phase, attempt=attempt.attempt + 1, due_at=d.now + delay
            )
        )
    elif command.phase == "compensation" or d.state.failing:
        d.go_on()
    else:
        d.fail(command.step, command.error)


def lost(d: Decision, command: AttemptLost) -> None:
    attempt = _awaited(d.state, command)
    if attempt is None:
        return
    d.emit(
        StepAttemptLost(
            step=command.step, phase=command.phase, attempt=attempt.attempt, reason=command.reason
        )
    )
    if d.state.status == "SUSPENDED":
        return
    if d.definition is None:
        d.emit(not_deployed(d.state))
    elif d.state.open[command.step].losses >= MAX_LOSSES:
        reason = (
            f"the runner died {MAX_LOSSES} times while it ran {command.step} ({command.phase}): "
            "find out why, then resume the saga"
        )
        d.emit(SagaSuspended(reason=reason, cause="losses"))
    elif d.state.failing:
        d.go_on()
    else:
        # Nothing failed, so nothing is waited for: the next owner, or this one, makes the next attempt at once.
        d.emit(
            StepRetryScheduled(
                step=command.step, phase=command.phase, attempt=attempt.attempt + 1, due_at=d.now
            )
        )


def continued(d: Decision, command: AttemptContinued) -> None:
    attempt = _awaited(d.state, command)
    if attempt is None:
        return
    d.emit(
        StepContinued(
            step=command.step,
            phase=command.phase,
            attempt=attempt.attempt,
            due_at=d.now + _bounded(command.after),
            carry=command.carry,
        )
    )
    d.go_on()


def _bounded(seconds: float) -> timedelta:
    """Others say how long: not into the past, and not beyond what a date can be."""
    return timedelta(seconds=min(max(0.0, seconds), _LONGEST))


def _awaited(state: SagaState, command: Attempt) -> Open | None:
    """The attempt that the command is about, where the saga waits for just that one."""
    found = state.open.get(command.step)
    if found is None or state.status == "NEW" or state.status in FINAL:
        return None
    if command.run != state.run or command.phase != found.phase or not found.is_active:
        return None
    if found.standing == "child" and not isinstance(command, AttemptSucceeded | AttemptFailed):
        return None
    if command.attempt == ANY_ATTEMPT:
        return found if command.step in state.children else None
    return found if command.attempt == found.attempt else None


def _retry_delay(d: Decision, command: AttemptFailed) -> timedelta | None:
    attempt = d.state.open[command.step]
    policy: Retry = terms(d.step(command.step), command.phase)[1]
    kind = command.error.partition(":")[0]
    if not command.retryable or kind in policy.non_retryable:
        return None
    delay = policy.delay(attempt.failures, command.dice)
    if delay is None:
        return None
    if command.retry_after is not None:
        delay = max(delay, _bounded(command.retry_after))
    if attempt.deadline_at is not None and d.now + delay >= attempt.deadline_at:
        return None
    return delay
