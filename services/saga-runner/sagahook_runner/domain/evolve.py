"""The one place where a saga's state changes. Recovery folds the log through this same function."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from sagahook_runner.domain.state import FINAL, Running, SagaState, Waiting
from sagahook_schemas.base import Contract
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


def evolve(state: SagaState, event: Contract) -> SagaState:
    """The state after the event. Total: an event that cannot follow suspends this saga and no other."""
    apply = _TRANSITIONS.get(type(event))
    after = apply(state, event) if apply is not None else None
    if after is None:
        reason = (
            f"the event {event.ce_type} cannot follow in state {state.status} at sequence {state.sequence}"
        )
        return state.then(status="SUSPENDED", current=None, reason=reason)
    return after


def fold(state: SagaState, events: tuple[Contract, ...]) -> SagaState:
    return reduce(evolve, events, state)


def _started(state: SagaState, event: SagaStarted) -> SagaState | None:
    if state.status != "NEW":
        return None
    return state.then(
        status="EXECUTING",
        name=event.name,
        version=event.version,
        definition_hash=event.definition_hash,
        source=event.source,
        event_id=event.event_id,
        correlation_id=event.correlation_id,
        context=event.context,
    )


def _joined(state: SagaState, event: SagaJoined) -> SagaState | None:
    if state.status == "NEW":
        return None
    return state.then()


def _scheduled(state: SagaState, event: StepScheduled) -> SagaState | None:
    """A first attempt follows nothing that runs; a further one follows its own timer."""
    if not _phase_fits(state, event.phase):
        return None
    running = Running(event.step, event.phase, event.attempt, event.times_out_at)
    if event.attempt == 1:
        if state.current is not None:
            return None
        return state.then(current=running, failures=0, losses=0, uncertain=False)
    waiting = state.current
    if not isinstance(waiting, Waiting) or (waiting.step, waiting.phase, waiting.attempt) != (
        event.step,
        event.phase,
        event.attempt,
    ):
        return None
    return state.then(current=running)


def _completed(state: SagaState, event: StepCompleted) -> SagaState | None:
    if not _is_running(state, event):
        return None
    if event.phase == "compensation":
        return state.then(
            current=None,
            to_undo=tuple(step for step in state.to_undo if step != event.step),
        )
    return state.then(
        current=None,
        results={**state.results, event.step: event.result},
    )


def _failed(state: SagaState, event: StepFailed) -> SagaState | None:
    if not _is_running(state, event):
        return None
    return state.then(
        current=None,
        failures=state.failures + 1,
        uncertain=state.uncertain or event.outcome == "unknown",
    )


def _lost(state: SagaState, event: StepAttemptLost) -> SagaState | None:
    if not _is_running(state, event):
        return None
    return state.then(
        current=None,
        losses=state.losses + (event.reason == "crash"),
        uncertain=state.uncertain or event.reason != "never_begun",
    )


def _retry_scheduled(state: SagaState, event: StepRetryScheduled) -> SagaState | None:
    if state.current is not None or not _phase_fits(state, event.phase):
        return None
    waiting = Waiting(event.step, event.phase, event.attempt, event.due_at)
    return state.then(current=waiting)


def _compensating(state: SagaState, event: SagaCompensating) -> SagaState | None:
    if state.status != "EXECUTING" or state.current is not None:
        return None
    return state.then(
        status="COMPENSATING",
        failed_step=event.failed_step,
        error=event.error,
        to_undo=event.steps,
    )


def _saga_completed(state: SagaState, event: SagaCompleted) -> SagaState | None:
    if state.status != "EXECUTING" or state.current is not None:
        return None
    # What only a running saga needs is dropped: a finished one is remembered for its identity alone.
    return state.then(status="COMPLETED", context={}, results={})


def _rolled_back(state: SagaState, event: SagaRolledBack) -> SagaState | None:
    if state.status != "COMPENSATING" or state.current is not None or state.to_undo:
        return None
    return state.then(status="ROLLED_BACK", context={}, results={})


def _saga_failed(state: SagaState, event: SagaFailed) -> SagaState | None:
    """Context and results stay: the operator who resolves the rest needs them."""
    if state.status != "COMPENSATING" or state.current is not None or state.to_undo != event.unresolved:
        return None
    return state.then(status="FAILED")


def _suspended(state: SagaState, event: SagaSuspended) -> SagaState | None:
    if state.status in FINAL or state.status == "NEW":
        return None
    return state.then(status="SUSPENDED", current=None, reason=event.reason)


def _is_running(state: SagaState, event: StepCompleted | StepFailed | StepAttemptLost) -> bool:
    """Whether the event ends the attempt that the saga waits for."""
    running = state.current
    return (
        isinstance(running, Running)
        and running.attempt == event.attempt
        and running.step == event.step
        and running.phase == event.phase
    )


def _phase_fits(state: SagaState, phase: str) -> bool:
    return state.status == ("EXECUTING" if phase == "action" else "COMPENSATING")


# The mapping pairs each event class with the function of exactly that class, which no type can express.
_TRANSITIONS: dict[type[Contract], Callable[[SagaState, Any], SagaState | None]] = {
    SagaStarted: _started,
    SagaJoined: _joined,
    StepScheduled: _scheduled,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepAttemptLost: _lost,
    StepRetryScheduled: _retry_scheduled,
    SagaCompensating: _compensating,
    SagaCompleted: _saga_completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _saga_failed,
    SagaSuspended: _suspended,
}
