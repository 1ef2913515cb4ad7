"""What follows from a command: events, and nothing else. Pure and total.

A command about an attempt that the saga no longer waits for is a duplicate or came too late: nothing follows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sagahook_runner.domain.commands import (
    Attempt,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Park,
    RetryDue,
    Start,
)
from sagahook_runner.domain.state import FINAL, Running, SagaState, Waiting
from sagahook_schemas.base import Contract
from sagahook_schemas.definitions import Retry, SagaDefinition
from sagahook_schemas.identity import Phase, idempotency_key
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

MAX_LOSSES = 3
"""So many crashes of its process during one step suspend the saga: a poison action never crash-loops a fleet."""

Events = tuple[Contract, ...]


def decide(state: SagaState, command: Command, definition: SagaDefinition | None, now: datetime) -> Events:
    """The events that the command causes, in order; () where it causes none.

    definition: the one deployed for the saga's version; where there is none, or it lacks what the run needs,
    the saga is parked. now: the owner's time, which never goes back within a partition.
    """
    follow = _DECISIONS[type(command)]
    fit = definition if definition is not None and _carries(definition, state) else None
    return follow(state, command, fit, now)


def compatible(state: SagaState, definition: SagaDefinition) -> bool:
    """Whether the run's history replays under the definition: what it did is how the definition begins."""
    steps = [step.name for step in definition.steps]
    done = list(state.results)
    current = [state.current.step] if state.current is not None and state.status == "EXECUTING" else []
    undo = {step.name for step in definition.steps if step.compensation is not None}
    return steps[: len(done) + len(current)] == done + current and undo.issuperset(state.to_undo)


def _carries(definition: SagaDefinition, state: SagaState) -> bool:
    """Whether the definition has the current step, and what undoes each that is to be undone."""
    current, undo = state.current, state.to_undo
    if current is not None and current.step not in definition.by_name:
        return False
    if current is not None and current.phase == "compensation":
        undo = (*undo, current.step)
    return all(step in definition.by_name and definition.by_name[step].compensation for step in undo)


def _start(state: SagaState, command: Start, definition: SagaDefinition | None, now: datetime) -> Events:
    request = command.request
    if state.status != "NEW":
        if request.event_id == state.event_id:
            return ()
        return (
            SagaJoined(
                name=request.name,
                source=request.source,
                event_id=request.event_id,
                correlation_id=request.correlation_id,
                state=state.status,
                notify_url=request.notify_url,
            ),
        )
    started = SagaStarted(
        name=request.name,
        version=request.version,
        definition_hash=definition.hash if definition else "",
        source=request.source,
        event_id=request.event_id,
        correlation_id=request.correlation_id,
        context=request.context,
        total_steps=len(definition.steps) if definition else 0,
        user_id=request.user_id,
        notify_url=request.notify_url,
    )
    if definition is None:
        reason = f"version {request.version} of {request.name} is not deployed: deploy it"
        return (started, SagaSuspended(reason=reason))
    if not definition.steps:
        return (started, SagaCompleted(name=request.name))
    return (started, _schedule(state, definition, definition.steps[0].name, "action", 1, now))


def _succeeded(
    state: SagaState, command: AttemptSucceeded, definition: SagaDefinition | None, now: datetime
) -> Events:
    if not _awaits(state, command):
        return ()
    completed = StepCompleted(
        step=command.step,
        phase=command.phase,
        attempt=command.attempt,
        result=command.result,
        duration_ms=command.duration_ms,
    )
    if definition is None:
        return (completed, _not_deployed(state))
    if command.phase == "compensation":
        left = tuple(step for step in state.to_undo if step != command.step)
        return (completed, _undo_next(state, definition, left, state.failed_step, state.error, now))
    following = definition.following.get(command.step)
    if following is None:
        return (completed, SagaCompleted(name=state.name))
    return (completed, _schedule(state, definition, following, "action", 1, now))


def _failed(
    state: SagaState, command: AttemptFailed, definition: SagaDefinition | None, now: datetime
) -> Events:
    if not _awaits(state, command):
        return ()
    failed = StepFailed(
        step=command.step,
        phase=command.phase,
        attempt=command.attempt,
        error=command.error,
        outcome="unknown" if command.unknown else "failed",
        duration_ms=command.duration_ms,
    )
    if definition is None:
        return (failed, _not_deployed(state))
    delay = _retry_delay(_policy(definition, command.step, command.phase), state, command)
    if delay is not None:
        retry = StepRetryScheduled(
            step=command.step, phase=command.phase, attempt=command.attempt + 1, due_at=now + delay
        )
        return (failed, retry)
    if command.phase == "compensation":
        return (
            failed,
            SagaFailed(
                name=state.name,
                failed_step=state.failed_step or "",
                error=f"the compensation of {command.step} failed for good: {command.error}",
                unresolved=state.to_undo,
            ),
        )
    uncertain = state.uncertain or command.unknown
    undo = _to_undo(state, definition, command.step if uncertain else None)
    return (
        failed,
        SagaCompensating(failed_step=command.step, error=command.error, steps=undo),
        _undo_next(state, definition, undo, command.step, command.error, now),
    )


def _lost(state: SagaState, command: AttemptLost, definition: SagaDefinition | None, now: datetime) -> Events:
    if not _awaits(state, command):
        return ()
    lost = StepAttemptLost(
        step=command.step, phase=command.phase, attempt=command.attempt, reason=command.reason
    )
    if definition is None:
        return (lost, _not_deployed(state))
    if state.losses + (command.reason == "crash") >= MAX_LOSSES:
        reason = (
            f"the runner died {MAX_LOSSES} times while it ran {command.step} ({command.phase}): "
            "find out why, then resume the saga"
        )
        return (lost, SagaSuspended(reason=reason))
    # Nothing failed, so nothing is waited for: the next owner, or this one, makes the next attempt at once.
    retry = StepRetryScheduled(
        step=command.step, phase=command.phase, attempt=command.attempt + 1, due_at=now
    )
    return (lost, retry)


def _retry_due(
    state: SagaState, command: RetryDue, definition: SagaDefinition | None, now: datetime
) -> Events:
    waiting = state.current
    if (
        not isinstance(waiting, Waiting)
        or command.run != state.run
        or command.attempt != waiting.attempt
        or now < waiting.due_at
    ):
        return ()
    if definition is None:
        return (_not_deployed(state),)
    return (_schedule(state, definition, waiting.step, waiting.phase, waiting.attempt, now),)


def _park(state: SagaState, command: Park, definition: SagaDefinition | None, now: datetime) -> Events:
    if state.status in FINAL or state.status in ("NEW", "SUSPENDED"):
        return ()
    return (SagaSuspended(reason=command.reason),)


def _awaits(state: SagaState, command: Attempt) -> bool:
    running = state.current
    return (
        isinstance(running, Running)
        and command.run == state.run
        and command.attempt == running.attempt
        and command.step == running.step
        and command.phase == running.phase
    )


def _schedule(
    state: SagaState, definition: SagaDefinition, step: str, phase: Phase, attempt: int, now: datetime
) -> StepScheduled:
    return StepScheduled(
        step=step,
        phase=phase,
        attempt=attempt,
        idempotency_key=idempotency_key(state.saga_id, state.run, step, phase),
        times_out_at=now + timedelta(seconds=attempt_timeout(definition, step, phase)),
    )


def _undo_next(
    state: SagaState,
    definition: SagaDefinition,
    left: tuple[str, ...],
    failed_step: str | None,
    error: str | None,
    now: datetime,
) -> Contract:
    if not left:
        return SagaRolledBack(name=state.name, failed_step=failed_step or "", error=error or "")
    return _schedule(state, definition, left[0], "compensation", 1, now)


def _to_undo(state: SagaState, definition: SagaDefinition, uncertain: str | None) -> tuple[str, ...]:
    """Completed steps in reverse; before them the failed one, where its effect may have been applied."""
    candidates = [*state.results, *([uncertain] if uncertain else [])]
    undoable = {step.name for step in definition.steps if step.compensation is not None}
    return tuple(step for step in reversed(candidates) if step in undoable)


def attempt_timeout(definition: SagaDefinition, step: str, phase: Phase) -> float:
    """Seconds."""
    return _terms(definition, step, phase)[0]


def _policy(definition: SagaDefinition, step: str, phase: Phase) -> Retry:
    return _terms(definition, step, phase)[1]


def _terms(definition: SagaDefinition, name: str, phase: Phase) -> tuple[float, Retry]:
    step = definition.by_name[name]
    if phase == "action":
        return step.timeout, step.retry
    if step.compensation is None:
        raise AssertionError(f"{definition.name} has no compensation for {name}, yet one is under way")
    return step.compensation.timeout, step.compensation.retry


def _retry_delay(policy: Retry, state: SagaState, command: AttemptFailed) -> timedelta | None:
    kind = command.error.partition(":")[0]
    if not command.retryable or kind in policy.non_retryable:
        return None
    return policy.delay(state.failures + 1, command.dice)


def _not_deployed(state: SagaState) -> SagaSuspended:
    run = f"this run of {state.name} version {state.version}"
    return SagaSuspended(reason=f"the steps that {run} needs are not deployed: deploy them")


# The mapping pairs each command class with the function of exactly that class, which no type can express.
_DECISIONS: dict[type[Command], Callable[[SagaState, Any, SagaDefinition | None, datetime], Events]] = {
    Start: _start,
    AttemptSucceeded: _succeeded,
    AttemptFailed: _failed,
    AttemptLost: _lost,
    RetryDue: _retry_due,
    Park: _park,
}
