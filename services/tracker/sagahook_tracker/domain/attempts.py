"""The attempts of steps, each from its scheduling to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

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


def attempt_key(envelope: Envelope, event: Contract) -> AttemptKey | None:
    """Of which attempt the event is, if any."""
    if type(event) not in _CHANGES:
        return None
    told: Any = event  # each of them says so
    return envelope.saga_id, envelope.run, told.step, told.phase, told.attempt


def attempted(
    known: Attempt | None, key: AttemptKey, envelope: Envelope, event: Contract, number: int
) -> Attempt:
    """The attempt after an event of its. known: as it was after the events of this batch before it, which is changed.
    What came in earlier batches is kept by the row: its number, its start and its participant."""
    attempt = Attempt(key, number, "running") if known is None else known
    attempt.completed_at, attempt.error, attempt.duration_ms = envelope.time, None, None
    _CHANGES[type(event)](attempt, event)
    return attempt


def _scheduled(attempt: Attempt, event: StepScheduled) -> None:
    attempt.started_at = attempt.started_at or attempt.completed_at
    attempt.status, attempt.completed_at = "running", None
    attempt.participant = attempt.participant or event.participant


def _completed(attempt: Attempt, event: StepCompleted) -> None:
    attempt.status, attempt.duration_ms = "completed", event.duration_ms


def _failed(attempt: Attempt, event: StepFailed) -> None:
    attempt.status = "unknown" if event.outcome == "unknown" else "failed"
    attempt.error, attempt.duration_ms = event.error, event.duration_ms


def _lost(attempt: Attempt, event: StepAttemptLost) -> None:
    attempt.status, attempt.error = "lost", f"it has no outcome: {event.reason}"


def _continued(attempt: Attempt, event: StepContinued) -> None:
    attempt.status = "continued"


# The mapping pairs each event class with the function of exactly that class, which no type can express.
_CHANGES: Mapping[type[Contract], Callable[[Attempt, Any], None]] = {
    StepScheduled: _scheduled,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepAttemptLost: _lost,
    StepContinued: _continued,
}
