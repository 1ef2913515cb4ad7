"""The attempts of steps, each from its scheduling to its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import Phase
from sagahook_schemas.steps import StepAttemptLost, StepCompleted, StepContinued, StepFailed, StepScheduled

AttemptStatus = Literal["running", "completed", "failed", "unknown", "lost", "continued"]
"""unknown: it failed, but its effect may have been applied. lost: it has no outcome. continued: it asked to be called
again."""

AttemptKey = tuple[str, int, str, Phase, int]
"""saga id, run, step, phase, attempt"""


@dataclass(slots=True)
class Attempt:
    """number: of the scheduling, where that is known. started_at, participant: from the scheduling. duration_ms: as
    whoever made the attempt measured it."""

    key: AttemptKey
    number: int
    status: AttemptStatus
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None
    duration_ms: int | None = None
    participant: str | None = None


def attempted(known: Attempt | None, envelope: Envelope, event: Contract, number: int) -> Attempt | None:
    """The attempt after the event; None: the event is of no attempt. known: the same attempt, after the events of this
    batch before it. What came in earlier batches is kept by the row: its number, its start and its participant."""
    match event:
        case StepScheduled():
            told = Attempt(
                _key(envelope, event), number, "running", envelope.time, participant=event.participant
            )
        case StepCompleted():
            told = _ended(envelope, event, number, "completed", None, event.duration_ms)
        case StepFailed():
            status: AttemptStatus = "unknown" if event.outcome == "unknown" else "failed"
            told = _ended(envelope, event, number, status, event.error, event.duration_ms)
        case StepAttemptLost():
            told = _ended(envelope, event, number, "lost", f"it has no outcome: {event.reason}", None)
        case StepContinued():
            told = _ended(envelope, event, number, "continued", None, None)
        case _:
            return None
    if known is not None:
        told.number = known.number
        told.started_at = known.started_at or told.started_at
        told.participant = known.participant or told.participant
    return told


def attempt_key(envelope: Envelope, event: Contract) -> AttemptKey | None:
    """Of which attempt the event is, if any."""
    return _key(envelope, event) if isinstance(event, _OF_ATTEMPTS) else None


_OfAttempt = StepScheduled | StepCompleted | StepFailed | StepAttemptLost | StepContinued
_OF_ATTEMPTS = (StepScheduled, StepCompleted, StepFailed, StepAttemptLost, StepContinued)


def _key(envelope: Envelope, event: _OfAttempt) -> AttemptKey:
    return envelope.saga_id, envelope.run, event.step, event.phase, event.attempt


def _ended(
    envelope: Envelope,
    event: _OfAttempt,
    number: int,
    status: AttemptStatus,
    error: str | None,
    duration_ms: int | None,
) -> Attempt:
    key = _key(envelope, event)
    return Attempt(key, number, status, None, envelope.time, error, duration_ms)
