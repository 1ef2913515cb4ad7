"""What operators and parents may ask of a saga. What cannot be done is refused in the log, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sagahook_runner.domain.attributes import search_attributes
from sagahook_runner.domain.commands import Operate, Request
from sagahook_runner.domain.decision import Decision
from sagahook_runner.domain.erased import REASON, is_erased
from sagahook_runner.domain.known_steps import known_step
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_schemas.sagas import (
    CommandRefused,
    SagaCancelled,
    SagaMigrated,
    SagaResumed,
    SagaSignalled,
    SagaStarted,
)
from sagahook_schemas.steps import CompensationResolved


def operate(d: Decision, command: Operate) -> None:
    """A command whose saga is not known is nobody's."""
    if d.state.status == "NEW":
        return
    if isinstance(command.request, RetrySaga | MigrateSaga) and is_erased(d.state):
        why: str | None = REASON
    else:
        why = _REQUESTS[type(command.request)](d, command.request, command.command_id)
    if why is not None:
        d.emit(
            CommandRefused(
                command=command.request.ce_type,
                actor=command.request.actor,
                reason=command.request.reason,
                why=why,
                command_id=command.command_id,
            )
        )


def resume(d: Decision, *, actor: str, reason: str, command_id: str | None) -> None:
    """Go on where a suspended saga was: what failed or whose time came meanwhile gets its next attempt."""
    d.emit(SagaResumed(actor=actor, reason=reason, command_id=command_id))
    for opened in list(d.state.open.values()):
        if opened.standing == "awaiting" and not d.state.failing:
            d.take_signal(opened.step)
    _try_again(d)
    d.go_on()


def _try_again(d: Decision) -> None:
    """The next attempt of whatever failed or was lost. What is no attempt of ours begins anew."""
    if d.state.status not in ("EXECUTING", "COMPENSATING") or d.state.failing:
        return
    for opened in list(d.state.open.values()):
        if opened.standing != "failed":
            continue
        step = d.step(opened.step)
        if opened.phase == "action" and step.does in ("signal", "child"):
            d.begin_anew(step)
        else:
            d.schedule(opened.step, opened.phase, opened.attempt + 1)


def cancel_child(d: Decision, reason: str) -> None:
    """The parent undoes the step that ran this saga."""
    state = d.state
    if d.definition is None or d.is_past_pivot:
        return
    if state.status == "COMPLETED" and state.parent is not None:
        d.begin_undoing("", reason)
    elif _is_stoppable(state) and not state.failing:
        if state.status == "SUSPENDED":
            d.emit(SagaCancelled(actor="sagahook", reason=reason))
        d.fail("", reason)


def _cancel(d: Decision, request: CancelSaga, command_id: str) -> str | None:
    state = d.state
    if not _is_stoppable(state) or state.failing:
        return f"it is {state.status}: only what has not ended and does not undo itself can be cancelled"
    if d.is_past_pivot:
        return "it is past its pivot, where nothing is undone any more"
    if d.definition is None or any(known_step(d.definition, state, name) is None for name in state.results):
        return f"version {state.version} of {state.name} is not deployed, so it cannot be undone: deploy it"
    d.emit(SagaCancelled(actor=request.actor, reason=request.reason, command_id=command_id))
    d.fail("", f"Cancelled: by {request.actor}" + (f", {request.reason}" if request.reason else ""))
    return None


def _retry(d: Decision, request: RetrySaga, command_id: str) -> str | None:
    state = d.state
    if state.status == "SUSPENDED":
        if d.definition is None:
            return f"version {state.version} of {state.name} is not deployed: deploy it, or migrate the saga"
        resume(d, actor=request.actor, reason=request.reason, command_id=command_id)
        return None
    if state.status not in ("ROLLED_BACK", "FAILED"):
        return f"it is {state.status}: only what is suspended, rolled back or failed can be retried"
    if d.definition is None:
        return f"no version of {state.name} is deployed: deploy one"
    if state.parent is not None:
        return f"it is a child: retry the saga {state.parent.saga_id} that asked for it"
    d.emit(_started_again(d, request))
    d.go_on()
    return None


def _started_again(d: Decision, request: RetrySaga) -> SagaStarted:
    """A new run, of the version that is deployed now."""
    state, definition = d.state, d.definition
    if definition is None:
        raise AssertionError("a run can only be started under a definition")
    context = dict(state.context)
    deadline = definition.deadline
    return SagaStarted(
        name=state.name,
        version=definition.version,
        definition_hash=definition.hash,
        source=state.source,
        event_id=state.event_id,
        correlation_id=state.correlation_id,
        context=context,
        total_steps=len(definition.steps),
        user_id=state.user_id,
        notify_url=state.notify_url,
        traceparent=state.traceparent,
        limit_key=state.limit_key,
        erasure_key=state.erasure_key,
        attributes=search_attributes(definition.attributes, context),
        deadline_at=None if deadline is None else d.now + timedelta(seconds=deadline),
        actor=request.actor,
        reason=request.reason,
    )


def _resolve(d: Decision, request: ResolveCompensation, command_id: str) -> str | None:
    state = d.state
    stuck = state.status == "FAILED" or (state.status, state.resumes) == ("SUSPENDED", "COMPENSATING")
    if not stuck or request.step not in state.to_undo:
        return f"it is {state.status}, and no compensation of {request.step} is left behind"
    if d.definition is None:
        return f"version {state.version} of {state.name} is not deployed: deploy it"
    d.emit(
        CompensationResolved(
            step=request.step,
            how=request.how,
            actor=request.actor,
            reason=request.reason,
            command_id=command_id,
        )
    )
    failed = d.state.open.get(request.step)
    if state.status == "SUSPENDED":
        # What else was lost or failed meanwhile did not do so for good.
        _try_again(d)
    elif failed is not None and failed.standing == "failed":
        d.schedule(failed.step, failed.phase, failed.attempt + 1)
    d.go_on()
    return None


def _signal(d: Decision, request: SignalSaga, command_id: str) -> str | None:
    state = d.state
    if request.signal_id in state.signal_ids:
        return None
    if state.status not in ("PENDING", "EXECUTING", "SUSPENDED"):
        return f"it is {state.status}: nothing can wait for a signal any more"
    d.emit(
        SagaSignalled(
            signal=request.signal,
            signal_id=request.signal_id,
            payload=request.payload,
            actor=request.actor,
            reason=request.reason,
            command_id=command_id,
        )
    )
    if d.state.status == "EXECUTING":
        waiting = [
            each.step
            for each in d.state.open.values()
            if each.standing == "awaiting" and each.signal == request.signal
        ]
        if d.definition is not None and waiting and d.take_signal(waiting[0]):
            d.go_on()
    return None


def _migrate(d: Decision, request: MigrateSaga, command_id: str) -> str | None:
    """`Decision.definition` is that of the version asked for, where the history replays under it."""
    state, target = d.state, d.definition
    if state.status not in ("PENDING", "EXECUTING", "COMPENSATING", "SUSPENDED"):
        return f"it is {state.status}: only what has not ended can be migrated"
    if target is None or target.version != request.version:
        return (
            f"version {request.version} of {state.name} is not deployed, or its steps are not those that this run "
            "has done so far: deploy one under which its history replays"
        )
    d.emit(
        SagaMigrated(
            version=target.version,
            definition_hash=target.hash,
            actor=request.actor,
            reason=request.reason,
            command_id=command_id,
        )
    )
    if state.status == "SUSPENDED" and state.cause in ("definition", "order"):
        resume(d, actor=request.actor, reason=request.reason, command_id=command_id)
    else:
        d.go_on()
    return None


def _is_stoppable(state: SagaState) -> bool:
    status = state.resumes if state.status == "SUSPENDED" else state.status
    return status in ("PENDING", "EXECUTING")


# The mapping pairs each request class with the function of exactly that class, which no type can express.
_REQUESTS: dict[type[Request], Callable[[Decision, Any, str], str | None]] = {
    CancelSaga: _cancel,
    RetrySaga: _retry,
    ResolveCompensation: _resolve,
    SignalSaga: _signal,
    MigrateSaga: _migrate,
}
