"""The one place where a saga's state changes. Recovery folds the log through this same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from sagahook_runner.domain import evolve_steps as of_steps
from sagahook_runner.domain.state import FINAL, Open, Parent, SagaState, Signal, Status
from sagahook_schemas.base import Contract
from sagahook_schemas.sagas import (
    CommandRefused,
    SagaAdmitted,
    SagaCancelled,
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaFailing,
    SagaJoined,
    SagaLetGo,
    SagaMigrated,
    SagaProgressed,
    SagaReleased,
    SagaResumed,
    SagaRolledBack,
    SagaSignalled,
    SagaStarted,
    SagaSuspended,
)
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

_REMEMBERED_SIGNALS = 100
"""Signal ids by which a duplicate is known."""


def evolve(state: SagaState, event: Contract) -> SagaState:
    """The state after the event. Total: an event that cannot follow suspends this saga and no other."""
    apply = _TRANSITIONS.get(type(event))
    after = apply(state, event) if apply is not None else None
    if after is None:
        reason = (
            f"the event {event.ce_type} cannot follow in state {state.status} at sequence {state.sequence}"
        )
        resumes = state.resumes if state.status == "SUSPENDED" else state.status
        return state.then(status="SUSPENDED", resumes=resumes, reason=reason, cause="engine")
    return after


def fold(state: SagaState, events: tuple[Contract, ...]) -> SagaState:
    return reduce(evolve, events, state)


def settled(state: SagaState) -> tuple[Mapping[str, Open], tuple[str, ...]]:
    """What is still open when nothing more may begin, and the steps that may have been applied."""
    active = {name: each for name, each in state.open.items() if each.is_active}
    unknown = (
        name
        for name, each in state.open.items()
        if each.uncertain and each.phase == "action" and name not in active and name not in state.uncertain
    )
    return active, (*state.uncertain, *unknown)


def _started(state: SagaState, event: SagaStarted) -> SagaState | None:
    if state.status in FINAL:
        state = SagaState.new(state.saga_id, state.run + 1)
    if state.status != "NEW":
        return None
    parent = event.parent
    return state.then(
        status=_waits(event.limit_key, event.held),
        name=event.name,
        version=event.version,
        definition_hash=event.definition_hash,
        source=event.source,
        event_id=event.event_id,
        **_rare(event),
        correlation_id=event.correlation_id,
        context=event.context,
        user_id=event.user_id,
        notify_url=event.notify_url,
        traceparent=event.traceparent,
        limit_key=event.limit_key,
        held=event.held,
        deadline_at=event.deadline_at,
        parent=None if parent is None else Parent(parent.saga_id, parent.run, parent.step),
    )


def _rare(event: SagaStarted) -> dict[str, Any]:
    """What few runs have: the others' states are smaller without it."""
    if event.reprocess is None and event.erasure_key is None:
        return {}
    return {"reprocess": event.reprocess, "erasure_key": event.erasure_key}


def _waits(limit_key: str | None, held: int | None) -> Status:
    """What a run is that has just started, or was just let go."""
    return "EXECUTING" if limit_key is None and held is None else "PENDING"


def _let_go(state: SagaState, event: SagaLetGo) -> SagaState | None:
    if state.held is None:
        return None
    goes_on = _waits(state.limit_key, None)
    if state.status == "SUSPENDED" and state.resumes == "PENDING":
        return state.then(held=None, resumes=goes_on)
    return state.then(held=None, status=goes_on) if state.status == "PENDING" else None


def _admitted(state: SagaState, event: SagaAdmitted) -> SagaState | None:
    if state.held is not None:
        return None
    if state.status == "SUSPENDED" and state.resumes == "PENDING":
        return state.then(resumes="EXECUTING")
    return state.then(status="EXECUTING") if state.status == "PENDING" else None


def _noted(state: SagaState, event: SagaJoined | CommandRefused) -> SagaState | None:
    """It is in the log, and changes nothing."""
    return None if state.status == "NEW" else state.then()


def _progressed(state: SagaState, event: SagaProgressed) -> SagaState | None:
    return None if state.status == "NEW" or state.status in FINAL else state.then()


def _failing(state: SagaState, event: SagaFailing) -> SagaState | None:
    if state.status != "EXECUTING" or state.failing:
        return None
    still_open, uncertain = settled(state)
    if not still_open:
        return None
    return state.then(
        failing=True,
        failed_step=event.failed_step,
        error=event.error,
        open=still_open,
        uncertain=uncertain,
    )


def _compensating(state: SagaState, event: SagaCompensating) -> SagaState | None:
    """Also of a finished child, whose parent undoes it."""
    undone_child = state.status == "COMPLETED" and state.parent is not None
    if state.status not in ("PENDING", "EXECUTING") and not undone_child:
        return None
    still_open, uncertain = settled(state)
    if still_open:
        return None
    return state.then(
        status="COMPENSATING",
        held=None,
        failing=False,
        open={},
        uncertain=uncertain,
        failed_step=event.failed_step,
        error=event.error,
        to_undo=event.steps,
    )


def _saga_completed(state: SagaState, event: SagaCompleted) -> SagaState | None:
    if state.status != "EXECUTING" or state.open or state.failing:
        return None
    if state.parent is not None:
        return state.then(status="COMPLETED")
    # What only a running saga needs is dropped: a finished one is remembered for its identity alone.
    return state.then(status="COMPLETED", **_FORGOTTEN, context={}, children=state.children)


def _rolled_back(state: SagaState, event: SagaRolledBack) -> SagaState | None:
    """The context stays, for an operator who runs it again."""
    if state.status != "COMPENSATING" or state.open or state.to_undo or state.left_behind:
        return None
    return state.then(status="ROLLED_BACK", **_FORGOTTEN)


def _saga_failed(state: SagaState, event: SagaFailed) -> SagaState | None:
    """Context and results stay: the operator who resolves the rest needs them."""
    if state.status != "COMPENSATING" or any(each.is_active for each in state.open.values()):
        return None
    if {*state.to_undo, *state.left_behind} != set(event.unresolved):
        return None
    # What failed stays open: an operator may have its next attempt made.
    failed = {name: each for name, each in state.open.items() if each.standing == "failed"}
    return state.then(status="FAILED", open=failed)


def _suspended(state: SagaState, event: SagaSuspended) -> SagaState | None:
    if state.status in FINAL or state.status == "NEW":
        return None
    if state.status == "SUSPENDED":
        # What it waits for no longer matters once its payload is gone.
        return state.then(reason=event.reason, cause="erased") if event.cause == "erased" else None
    return state.then(status="SUSPENDED", resumes=state.status, reason=event.reason, cause=event.cause)


def _resumed(state: SagaState, event: SagaResumed) -> SagaState | None:
    if state.status != "SUSPENDED" or state.resumes is None:
        return None
    again = {
        name: each.but(losses=0, failures=0) if each.standing == "failed" else each
        for name, each in state.open.items()
    }
    changes: dict[str, Any] = {}
    if state.cause == "forward":
        # Past the pivot it can only go on: what was called off is so no more, and no deadline calls it off again.
        changes = {"failing": False, "deadline_at": None}
    return state.then(status=state.resumes, resumes=None, reason=None, cause=None, open=again, **changes)


def _cancelled(state: SagaState, event: SagaCancelled) -> SagaState | None:
    status = state.resumes if state.status == "SUSPENDED" else state.status
    if status not in ("PENDING", "EXECUTING"):
        return None
    return state.then(status=status, resumes=None, reason=None, cause=None)


def _signalled(state: SagaState, event: SagaSignalled) -> SagaState | None:
    if state.status == "NEW" or state.status in FINAL:
        return None
    return state.then(
        signals=(*state.signals, Signal(event.signal, event.payload)),
        signal_ids=(*state.signal_ids, event.signal_id)[-_REMEMBERED_SIGNALS:],
    )


def _migrated(state: SagaState, event: SagaMigrated) -> SagaState | None:
    if state.status == "NEW" or state.status in FINAL:
        return None
    return state.then(version=event.version, definition_hash=event.definition_hash)


def _released(state: SagaState, event: SagaReleased) -> SagaState | None:
    if state.status not in ("COMPLETED", "ROLLED_BACK") or state.parent is None:
        return None
    context = {} if state.status == "COMPLETED" else state.context
    return state.then(**_FORGOTTEN, context=context, parent=None, children=state.children)


_FORGOTTEN: Mapping[str, Any] = {
    "results": {},
    "skipped": (),
    "prepared": {},
    "items": {},
    "uncertain": (),
    "signals": (),
    "signal_ids": (),
    "declared": {},
    "told": (),
}

# The mapping pairs each event class with the function of exactly that class, which no type can express.
_TRANSITIONS: dict[type[Contract], Callable[[SagaState, Any], SagaState | None]] = {
    SagaStarted: _started,
    SagaAdmitted: _admitted,
    SagaLetGo: _let_go,
    SagaJoined: _noted,
    CommandRefused: _noted,
    SagaProgressed: _progressed,
    StepDeclared: of_steps.declared,
    StepScheduled: of_steps.scheduled,
    StepCompleted: of_steps.completed,
    StepFailed: of_steps.failed,
    StepAttemptLost: of_steps.lost,
    StepRetryScheduled: of_steps.retry_scheduled,
    StepContinued: of_steps.continued,
    StepSkipped: of_steps.skipped,
    StepSleeping: of_steps.sleeping,
    StepAwaiting: of_steps.awaiting,
    StepChildRequested: of_steps.child_requested,
    StepExpanded: of_steps.expanded,
    CompensationResolved: of_steps.compensation_resolved,
    SagaFailing: _failing,
    SagaCompensating: _compensating,
    SagaCompleted: _saga_completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _saga_failed,
    SagaSuspended: _suspended,
    SagaResumed: _resumed,
    SagaCancelled: _cancelled,
    SagaSignalled: _signalled,
    SagaMigrated: _migrated,
    SagaReleased: _released,
}
