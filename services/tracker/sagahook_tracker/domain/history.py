"""What people see of each event of a run: an entry of its history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, rfc3339
from sagahook_schemas.sagas import (
    CommandRefused,
    SagaAdmitted,
    SagaCancelled,
    SagaCompensating,
    SagaFailed,
    SagaFailing,
    SagaJoined,
    SagaLetGo,
    SagaMigrated,
    SagaProgressed,
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
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
    StepSkipped,
    StepSleeping,
)
from sagahook_tracker.domain.runs import TASK_STATUSES, Run, State, TaskStatus
from sagahook_tracker.domain.step_changes import STEP_CHANGES


class Entry(NamedTuple):
    """One event of a run and how the run stood after it. type: `step.completed`. message: what an action said, or
    why something went wrong. metadata: the event's small fields; what may be large or private stays in the log.
    correlation_id: only where it is not the run's own."""

    number: int
    saga_id: str
    run: int
    sequence: int
    at: datetime
    type: str
    status: TaskStatus
    state: State
    step: str | None
    progress: float
    message: str | None
    metadata: dict[str, Any]
    correlation_id: str | None
    traceparent: str | None


def entry(run: Run, envelope: Envelope, event: Contract, number: int) -> Entry:
    """run: after the event."""
    kind = type(event)
    told: Any = event
    metadata = {}
    for name in _METADATA.get(kind, ()):
        value = getattr(told, name)
        if value is not None and value != "":
            metadata[name] = rfc3339(value) if type(value) is datetime else value
    correlation_id = envelope.correlation_id
    why = _MESSAGES.get(kind)
    return Entry(
        number,
        envelope.saga_id,
        envelope.run,
        envelope.sequence,
        envelope.time,
        kind.ce_type[9:-3],  # without sagahook. and .v1
        TASK_STATUSES[run.state],
        run.state,
        told.step if kind in _OF_STEPS else None,
        run.progress,
        None if why is None else getattr(told, why) or None,
        metadata,
        None if correlation_id == run.correlation_id else correlation_id or None,
        envelope.traceparent or None,
    )


_BY = ("actor", "reason", "command_id")

_METADATA: Mapping[type[Contract], tuple[str, ...]] = {
    SagaStarted: (
        "name",
        "version",
        "source",
        "event_id",
        "limit_key",
        "held",
        "actor",
        "reason",
        "reprocess",
    ),
    SagaLetGo: ("actor", "reason"),
    SagaAdmitted: ("limit_key",),
    SagaJoined: ("source", "event_id"),
    SagaFailing: ("failed_step", "error"),
    SagaCompensating: ("failed_step", "error", "steps"),
    SagaRolledBack: ("failed_step", "error"),
    SagaFailed: ("failed_step", "error", "unresolved"),
    SagaSuspended: ("reason", "cause"),
    SagaResumed: _BY,
    SagaCancelled: _BY,
    SagaSignalled: ("signal", "signal_id", *_BY),
    SagaMigrated: ("version", *_BY),
    SagaProgressed: ("progress",),
    CommandRefused: ("command", "why", *_BY),
    StepScheduled: ("phase", "attempt", "participant"),
    StepCompleted: ("phase", "attempt", "duration_ms"),
    StepFailed: ("phase", "attempt", "outcome", "error", "duration_ms"),
    StepDeclared: ("number",),
    StepSkipped: ("reason",),
    StepSleeping: ("due_at",),
    StepAwaiting: ("signal", "due_at"),
    StepChildRequested: ("child_id", "name", "version"),
    StepContinued: ("phase", "attempt", "due_at"),
    CompensationResolved: ("how", *_BY),
    StepRetryScheduled: ("phase", "attempt", "due_at"),
    StepAttemptLost: ("phase", "attempt", "reason"),
}
"""An event that is not named has none."""

_MESSAGES: Mapping[type[Contract], str] = {
    SagaStarted: "reason",
    SagaLetGo: "reason",
    SagaFailing: "error",
    SagaCompensating: "error",
    SagaRolledBack: "error",
    SagaFailed: "error",
    SagaSuspended: "reason",
    SagaResumed: "reason",
    SagaCancelled: "reason",
    SagaSignalled: "reason",
    SagaMigrated: "reason",
    SagaProgressed: "message",
    CommandRefused: "why",
    StepFailed: "error",
    StepSkipped: "reason",
    CompensationResolved: "reason",
}

_OF_STEPS = frozenset(STEP_CHANGES) - {StepDeclared}
