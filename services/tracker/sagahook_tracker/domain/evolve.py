"""One run of a saga as its log tells it. `evolve` is the only place where a run changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, rfc3339
from sagahook_schemas.sagas import (
    CommandRefused,
    SagaAdmitted,
    SagaCancelled,
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaFailing,
    SagaLetGo,
    SagaMigrated,
    SagaProgressed,
    SagaResumed,
    SagaRolledBack,
    SagaSignalled,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import CompensationResolved
from sagahook_tracker.domain.runs import ACTS, FINAL, Act, Run, State
from sagahook_tracker.domain.step_changes import STEP_CHANGES, Changes, give_up


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
    change = _CHANGES.get(type(event))
    changes = change(run, event) if change is not None else {}
    if isinstance(event, SagaStarted):
        changes["started_at"] = envelope.time
    act = _act(event, envelope.time)
    if act is not None:
        changes["acts"] = (*run.acts, act)[-ACTS:]
    if "state" in changes:
        _follow(run, changes, envelope.time)
    return replace(run, sequence=envelope.sequence, updated_at=envelope.time, **changes)


def _follow(run: Run, changes: Changes, time: datetime) -> None:
    """What every change of the state brings with it, also that of a run that was final: a child is undone after all,
    an operator has a compensation retried."""
    if changes["state"] not in FINAL:
        changes["finished_at"] = None
    elif run.state not in FINAL:
        changes["finished_at"] = time
    if changes["state"] != "SUSPENDED":
        changes["suspended_in"] = None


def _started(run: Run, event: SagaStarted) -> Changes:
    return {
        "name": event.name,
        "version": event.version,
        "definition_hash": event.definition_hash,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "state": "EXECUTING" if event.limit_key is None and event.held is None else "PENDING",
        "user_id": event.user_id,
        "context": event.context,
        "attributes": event.attributes,
        "parent": event.parent,
        "limit_key": event.limit_key,
        "deadline_at": event.deadline_at,
        "total_steps": event.total_steps,
    }


def _let_go(run: Run, event: SagaLetGo) -> Changes:
    """What has a limit asks for its slot only now, and waits on."""
    return _goes_on(run) if run.limit_key is None else {}


def _admitted(run: Run, event: SagaAdmitted) -> Changes:
    return _goes_on(run)


def _goes_on(run: Run) -> Changes:
    """What waits to begin need wait no more: at once, or when it is resumed."""
    if run.state == "PENDING":
        return {"state": "EXECUTING"}
    return {"suspended_in": "EXECUTING"} if run.suspended_in == "PENDING" else {}


def _failing(run: Run, event: SagaFailing) -> Changes:
    """It is executing still, as long as attempts are under way; but what only waits is over."""
    return {
        "failed_step": event.failed_step or None,
        "error": event.error,
        "steps": give_up(run, in_flight=False),
    }


def _compensating(run: Run, event: SagaCompensating) -> Changes:
    return {
        "state": "COMPENSATING",
        "failed_step": event.failed_step or None,
        "error": event.error,
        "reason": None,
        "cause": None,
        "steps": give_up(run, in_flight=True),
    }


def _completed(run: Run, event: SagaCompleted) -> Changes:
    return {"state": "COMPLETED", "name": event.name, "error": None, "reason": None, "cause": None}


def _rolled_back(run: Run, event: SagaRolledBack) -> Changes:
    return _ended(run, "ROLLED_BACK", event) | {"unresolved": ()}


def _failed(run: Run, event: SagaFailed) -> Changes:
    return _ended(run, "FAILED", event) | {"unresolved": event.unresolved}


def _ended(run: Run, state: State, event: SagaRolledBack | SagaFailed) -> Changes:
    return {
        "state": state,
        "name": event.name,
        "failed_step": event.failed_step or None,
        "error": event.error,
        "reason": None,
        "cause": None,
        "steps": give_up(run, in_flight=True),
    }


def _suspended(run: Run, event: SagaSuspended) -> Changes:
    before = run.suspended_in if run.state == "SUSPENDED" else run.state if run.sequence else None
    return {"state": "SUSPENDED", "reason": event.reason, "cause": event.cause, "suspended_in": before}


def _resumed(run: Run, event: SagaResumed) -> Changes:
    """Where the suspension itself is not known any more, nothing says that it was undoing."""
    if run.state != "SUSPENDED":
        return {}
    return {"state": run.suspended_in or "EXECUTING", "reason": None, "cause": None}


def _migrated(run: Run, event: SagaMigrated) -> Changes:
    return {"version": event.version, "definition_hash": event.definition_hash}


def _progressed(run: Run, event: SagaProgressed) -> Changes:
    return {"said_progress": event.progress, "message": event.message or None}


def _act(event: Contract, time: datetime) -> Act | None:
    """What an operator did; None where the event is none of theirs."""
    name = _ACTS.get(type(event))
    told: Any = event  # each of them says who and why
    if name is None or told.actor is None:
        return None
    return Act(
        what=name(told),
        at=rfc3339(time),
        actor=told.actor,
        reason=told.reason or "",
        why=getattr(told, "why", None),
        command_id=getattr(told, "command_id", None),
    )


_ACTS: dict[type[Contract], Callable[[Any], str]] = {
    SagaStarted: lambda event: "retry",
    SagaLetGo: lambda event: "let go",
    SagaCancelled: lambda event: "cancel",
    SagaResumed: lambda event: "resume",
    SagaSignalled: lambda event: f"signal {event.signal}",
    SagaMigrated: lambda event: f"migrate to version {event.version}",
    CompensationResolved: lambda event: f"{event.how} the compensation of {event.step}",
    CommandRefused: lambda event: (
        event.command.removeprefix("sagahook.command.").removesuffix(".v1").replace("_", " ")
    ),
}

# The mapping pairs each event class with the function of exactly that class, which no type can express. An event that
# is in neither table (a join, a release) says nothing of the run's state.
_CHANGES: dict[type[Contract], Callable[[Run, Any], Changes]] = STEP_CHANGES | {
    SagaStarted: _started,
    SagaLetGo: _let_go,
    SagaAdmitted: _admitted,
    SagaFailing: _failing,
    SagaCompensating: _compensating,
    SagaCompleted: _completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _failed,
    SagaSuspended: _suspended,
    SagaResumed: _resumed,
    SagaMigrated: _migrated,
    SagaProgressed: _progressed,
}
