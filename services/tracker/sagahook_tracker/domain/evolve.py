"""One run of a saga as its log tells it. `evolve` is the only place where a run changes."""

from __future__ import annotations

from collections.abc import Callable
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
from sagahook_tracker.domain.step_changes import STEP_CHANGES, give_up


def evolve(run: Run | None, envelope: Envelope, event: Contract, number: int) -> Run:
    """The run after one event of its log: `run` itself, changed, or a new one where it is None.

    Total: an event at or below `sequence` was folded before and changes nothing; one that says nothing of the
    run's state only moves the sequence on; a log whose beginning is gone is told from where it begins.
    number: of the event's position, see `sagahook_schemas.identity.record_number`.
    """
    if run is None:
        run = Run(envelope.saga_id, envelope.run, number, name=envelope.subject)
    if envelope.sequence <= run.sequence:
        return run
    kind, before = type(event), run.state
    change = _CHANGES.get(kind)
    if change is not None:
        change(run, event)
        _follow(run, before, envelope.time)
    if kind is SagaStarted:
        run.started_at = envelope.time
    if kind in _ACTS:
        _remember_act(run, event, envelope.time)
    run.sequence, run.updated_at = envelope.sequence, envelope.time
    return run


def _follow(run: Run, before: State, time: datetime) -> None:
    """What every change of the state brings with it, also that of a run that was final: a child is undone after all,
    an operator has a compensation retried."""
    if run.state not in FINAL:
        run.finished_at = None
    elif before not in FINAL:
        run.finished_at = time
    if run.state != "SUSPENDED":
        run.suspended_in = None
    if run.state != "PENDING" and run.suspended_in != "PENDING":
        run.held = False


def _started(run: Run, event: SagaStarted) -> None:
    run.name = event.name
    run.version = event.version
    run.definition_hash = event.definition_hash
    run.source = event.source
    run.correlation_id = event.correlation_id
    run.event_id = event.event_id
    run.held = event.held is not None
    run.state = "PENDING" if run.held or event.limit_key is not None else "EXECUTING"
    run.user_id = event.user_id
    run.context = event.context
    run.attributes = event.attributes
    run.parent = event.parent
    run.limit_key = event.limit_key
    run.deadline_at = event.deadline_at
    run.total_steps = event.total_steps


def _let_go(run: Run, event: SagaLetGo) -> None:
    """What has a limit asks for its slot only now, and waits on."""
    run.held = False
    if run.limit_key is None:
        _go_on(run)


def _admitted(run: Run, event: SagaAdmitted) -> None:
    _go_on(run)


def _go_on(run: Run) -> None:
    """What waits to begin need wait no more: at once, or when it is resumed."""
    if run.state == "PENDING":
        run.state = "EXECUTING"
    elif run.suspended_in == "PENDING":
        run.suspended_in = "EXECUTING"


def _failing(run: Run, event: SagaFailing) -> None:
    """It is executing still, as long as attempts are under way; but what only waits is over."""
    run.failed_step, run.error = event.failed_step or None, event.error
    give_up(run, in_flight=False)


def _compensating(run: Run, event: SagaCompensating) -> None:
    _give_up_as(run, "COMPENSATING", event)


def _completed(run: Run, event: SagaCompleted) -> None:
    run.state, run.name, run.result = "COMPLETED", event.name, event.result
    run.error = run.reason = run.cause = None


def _rolled_back(run: Run, event: SagaRolledBack) -> None:
    run.name, run.unresolved = event.name, ()
    _give_up_as(run, "ROLLED_BACK", event)


def _failed(run: Run, event: SagaFailed) -> None:
    run.name, run.unresolved = event.name, event.unresolved
    _give_up_as(run, "FAILED", event)


def _give_up_as(run: Run, state: State, event: SagaCompensating | SagaRolledBack | SagaFailed) -> None:
    run.state, run.failed_step, run.error = state, event.failed_step or None, event.error
    run.reason = run.cause = None
    give_up(run, in_flight=True)


def _suspended(run: Run, event: SagaSuspended) -> None:
    if run.state != "SUSPENDED":
        run.suspended_in = run.state if run.sequence else None
    run.state, run.reason, run.cause = "SUSPENDED", event.reason, event.cause


def _resumed(run: Run, event: SagaResumed) -> None:
    """Where the suspension itself is not known any more, nothing says that it was undoing."""
    if run.state == "SUSPENDED":
        run.state, run.reason, run.cause = run.suspended_in or "EXECUTING", None, None


def _migrated(run: Run, event: SagaMigrated) -> None:
    run.version, run.definition_hash = event.version, event.definition_hash


def _progressed(run: Run, event: SagaProgressed) -> None:
    run.said_progress, run.message = event.progress, event.message or None


def _remember_act(run: Run, told: Any, time: datetime) -> None:
    """told: one of _ACTS, each of which says who and why; nobody, where it is no operator's."""
    if told.actor is None:
        return
    act = Act(
        what=_ACTS[type(told)](told),
        at=rfc3339(time),
        actor=told.actor,
        reason=told.reason or "",
        why=getattr(told, "why", None),
        command_id=getattr(told, "command_id", None),
    )
    run.acts = (*run.acts, act)[-ACTS:]


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
_CHANGES: dict[type[Contract], Callable[[Run, Any], None]] = STEP_CHANGES | {
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
