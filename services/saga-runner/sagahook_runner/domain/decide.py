"""What follows from a command: events, and nothing else. Pure and total.

A command about an attempt that the saga no longer waits for is a duplicate or came too late: nothing follows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sagahook_runner.domain.attempts import continued, failed, lost, succeeded
from sagahook_runner.domain.attributes import attributes_at_start
from sagahook_runner.domain.commands import (
    Admit,
    AttemptContinued,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    DeadlineDue,
    FunctionEnded,
    LetGo,
    Operate,
    Park,
    Progress,
    Release,
    RequestStep,
    Start,
    StepDue,
    Undo,
    Unpark,
)
from sagahook_runner.domain.decision import Decision
from sagahook_runner.domain.known_steps import known_step, not_deployed
from sagahook_runner.domain.operate import cancel_child, operate, resume
from sagahook_runner.domain.state import FINAL, Open, SagaState, item_of
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import MigrateSaga, RetrySaga
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.sagas import (
    SagaAdmitted,
    SagaCompleted,
    SagaJoined,
    SagaLetGo,
    SagaProgressed,
    SagaReleased,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepCompleted,
    StepDeclared,
    StepFailed,
)

Events = tuple[Contract, ...]


def decide(state: SagaState, command: Command, definition: SagaDefinition | None, now: datetime) -> Events:
    """The events that the command causes, in order; () where it causes none. See `follow`."""
    return tuple(event for event, _ in follow(state, command, definition, now))


def follow(
    state: SagaState, command: Command, definition: SagaDefinition | None, now: datetime
) -> list[tuple[Contract, SagaState]]:
    """The events that the command causes, each with the state after it.

    definition: the one deployed for the saga's version (for an operator's retry or migration: the one to go on with);
    where there is none, or it lacks what the run needs, the saga is parked. now: the owner's time, which never goes
    back within a partition.
    """
    fit = definition if definition is not None and _fits(definition, state, command) else None
    decision = Decision(state, fit, now)
    _DECISIONS[type(command)](decision, command)
    return decision.told


def compatible(state: SagaState, definition: SagaDefinition) -> bool:
    """Whether the run's history replays under the definition: each step that began, began after those that must be done
    before it, and everything that may have to be undone still can be."""
    if definition.code:
        return True
    begun = [*state.results, *state.skipped, *state.open]
    for name in begun:
        base = item_of(name)[0]
        if base not in definition.by_name:
            return False
        if not all(state.is_done(before) for before in definition.predecessors[base]):
            return False
    return _carries(definition, state)


def _fits(definition: SagaDefinition, state: SagaState, command: Command) -> bool:
    if definition.hash == state.definition_hash and not isinstance(command, Operate):
        return True
    match command:
        case Start():
            return True
        case Operate(RetrySaga()) if state.status in FINAL:
            return True
        case Operate(MigrateSaga()) | Unpark():
            return compatible(state, definition)
    return _carries(definition, state)


def _carries(definition: SagaDefinition, state: SagaState) -> bool:
    """Whether the definition has the steps that are open, and what undoes each that is to be undone."""
    for name in state.open:
        if known_step(definition, state, name) is None:
            return False
    for name in state.to_undo:
        step = known_step(definition, state, name)
        if step is None or not step.undoable:
            return False
    done = (*state.results, *state.uncertain)
    return all(known_step(definition, state, name) is not None for name in done)


def _start(d: Decision, command: Start) -> None:
    request, state = command.request, d.state
    rerun = request.again and state.status in FINAL and request.wish != state.wish
    if state.status != "NEW" and not rerun:
        if request.wish == state.wish:
            return
        d.emit(
            SagaJoined(
                name=request.name,
                source=request.source,
                event_id=request.event_id,
                correlation_id=request.correlation_id,
                state=state.status,
                notify_url=request.notify_url,
            )
        )
        return
    definition = d.definition
    deadline = definition.deadline if definition is not None else None
    d.emit(
        SagaStarted(
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
            limit_key=request.limit_key,
            attributes=attributes_at_start(request, definition),
            deadline_at=None if deadline is None else d.now + timedelta(seconds=deadline),
            parent=request.parent,
            traceparent=request.traceparent,
            # A child belongs to what runs already.
            held=command.held if request.parent is None else None,
            reprocess=request.reprocess,
            erasure_key=request.erasure_key,
        )
    )
    if definition is None:
        reason = f"version {request.version} of {request.name} is not deployed: deploy it"
        d.emit(SagaSuspended(reason=reason, cause="definition"))
        return
    d.go_on()


def _let_go(d: Decision, command: LetGo) -> None:
    if d.state.held is not None:
        d.emit(SagaLetGo(actor=command.actor, reason=command.reason))
        d.go_on()


def _admit(d: Decision, command: Admit) -> None:
    state = d.state
    waits = "PENDING" in (state.status, state.resumes) and state.held is None
    if waits and (command.run, command.limit_key) == (state.run, state.limit_key):
        d.emit(SagaAdmitted(limit_key=command.limit_key))
        d.go_on()


def _step_due(d: Decision, command: StepDue) -> None:
    waiting = d.state.open.get(command.step)
    if waiting is None or (command.run, command.attempt) != (d.state.run, waiting.attempt):
        return
    if waiting.at is None or d.now < waiting.at or d.state.status not in ("EXECUTING", "COMPENSATING"):
        return
    if d.state.failing and waiting.standing != "running":
        return
    if d.definition is None:
        d.emit(not_deployed(d.state))
        return
    match waiting.standing:
        case "waiting":
            d.schedule(waiting.step, waiting.phase, waiting.attempt)
        case "sleeping":
            _succeed(d, waiting)
        case "awaiting" if d.step(command.step).on_timeout == "continue":
            _succeed(d, waiting)
        case "awaiting":
            error = f"TimeoutError: the signal {waiting.signal!r} did not come in time"
            d.emit(StepFailed(step=command.step, phase="action", attempt=waiting.attempt, error=error))
            d.fail(command.step, error)
        case "running" if waiting.remote:
            error = f"TimeoutError: {d.step(command.step).participant} did not answer in time"
            which = (command.run, command.step, waiting.phase, waiting.attempt)
            failed(d, AttemptFailed(*which, error, True, True, 0, 0.5))


def _succeed(d: Decision, waited: Open) -> None:
    """What was waited for has come, without a result."""
    d.emit(StepCompleted(step=waited.step, phase="action", attempt=waited.attempt))
    d.go_on()


def _deadline_due(d: Decision, command: DeadlineDue) -> None:
    state = d.state
    if command.run != state.run or state.deadline_at is None or d.now < state.deadline_at:
        return
    if state.status in ("PENDING", "EXECUTING") and not state.failing:
        d.fail("", "DeadlineExceeded: the run took longer than its deadline allows")


def _park(d: Decision, command: Park) -> None:
    state = d.state
    if state.status == "SUSPENDED" and (command.cause != "erased" or state.cause == "erased"):
        return
    if state.status not in FINAL and state.status != "NEW":
        d.emit(SagaSuspended(reason=command.reason, cause=command.cause))


def _unpark(d: Decision, command: Unpark) -> None:
    if d.state.status == "SUSPENDED" and d.state.cause == "definition" and d.definition is not None:
        resume(d, actor="sagahook", reason=command.reason, command_id=None)


def _progress(d: Decision, command: Progress) -> None:
    if command.run == d.state.run and d.state.status == "EXECUTING":
        d.emit(SagaProgressed(progress=min(1.0, max(0.0, command.progress)), message=command.message))


def _undo(d: Decision, command: Undo) -> None:
    cancel_child(d, command.reason)


def _release(d: Decision, command: Release) -> None:
    if d.state.status in ("COMPLETED", "ROLLED_BACK") and d.state.parent is not None:
        d.emit(SagaReleased())


def _request_step(d: Decision, command: RequestStep) -> None:
    """A function that runs again asks for what it asked for before: `Conductor` answers that from the state."""
    state, step = d.state, command.definition
    if command.run != state.run or state.status != "EXECUTING" or state.failing:
        return
    if command.number != len(state.declared) + 1 or step.name in state.declared:
        return
    d.emit(StepDeclared(number=command.number, definition=step))
    d.begin(step, command.value)


def _function_ended(d: Decision, command: FunctionEnded) -> None:
    state = d.state
    if command.run != state.run or state.status != "EXECUTING" or state.failing:
        return
    if command.error is not None:
        d.fail("", command.error)
    elif not state.open:
        d.emit(SagaCompleted(name=state.name, result=command.result))


# The mapping pairs each command class with the function of exactly that class, which no type can express.
_DECISIONS: dict[type[Command], Callable[[Decision, Any], None]] = {
    Start: _start,
    LetGo: _let_go,
    Admit: _admit,
    AttemptSucceeded: succeeded,
    AttemptFailed: failed,
    AttemptLost: lost,
    AttemptContinued: continued,
    StepDue: _step_due,
    DeadlineDue: _deadline_due,
    Park: _park,
    Unpark: _unpark,
    Progress: _progress,
    Undo: _undo,
    Release: _release,
    RequestStep: _request_step,
    FunctionEnded: _function_ended,
    Operate: operate,
}
