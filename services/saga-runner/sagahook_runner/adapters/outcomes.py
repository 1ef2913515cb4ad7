"""What became of an attempt, as a command to the saga's owner: for an attempt that was not made where the owner is."""

from __future__ import annotations

from datetime import datetime

from sagahook_runner.adapters.records import SOURCE
from sagahook_runner.domain.commands import Attempt, AttemptContinued, AttemptFailed, AttemptSucceeded
from sagahook_schemas.commands import CompleteStep
from sagahook_schemas.envelope import Envelope


def complete_step_headers(saga_id: str, now: datetime, command: CompleteStep) -> Envelope:
    return Envelope(
        id=f"{saga_id}/{command.run}/{command.step}/{command.phase}/{command.attempt}/outcome",
        source=SOURCE,
        type=command.ce_type,
        time=now,
        saga_id=saga_id,
        run=command.run,
    )


def complete_step(attempt: Attempt) -> CompleteStep | None:
    """The outcome as a command to the saga's present owner; None where there is none to tell."""
    match attempt:
        case AttemptSucceeded():
            return CompleteStep(
                run=attempt.run,
                step=attempt.step,
                phase=attempt.phase,
                attempt=attempt.attempt,
                result=attempt.result,
                duration_ms=attempt.duration_ms,
            )
        case AttemptFailed():
            return CompleteStep(
                run=attempt.run,
                step=attempt.step,
                phase=attempt.phase,
                attempt=attempt.attempt,
                error=attempt.error,
                retryable=attempt.retryable,
                unknown=attempt.unknown,
                duration_ms=attempt.duration_ms,
                retry_after=attempt.retry_after,
            )
        case AttemptContinued():
            return CompleteStep(
                run=attempt.run,
                step=attempt.step,
                phase=attempt.phase,
                attempt=attempt.attempt,
                result=attempt.carry,
                continue_after=attempt.after,
            )
        case _:
            return None


def attempt_of(command: CompleteStep, dice: float) -> Attempt:
    """The reverse of `complete_step`. dice: for a retry's jitter."""
    which = (command.run, command.step, command.phase, command.attempt)
    if command.continue_after is not None:
        return AttemptContinued(*which, command.continue_after, command.result)
    if command.error is None:
        return AttemptSucceeded(*which, command.result, command.duration_ms)
    return AttemptFailed(
        *which,
        command.error,
        command.retryable,
        command.unknown,
        command.duration_ms,
        dice,
        command.retry_after,
    )
