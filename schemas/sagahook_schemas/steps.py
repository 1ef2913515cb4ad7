"""The saga log: what happened to its steps. `phase` is `action` or `compensation`; attempts count from 1."""

from __future__ import annotations

from typing import ClassVar, Literal

from sagahook_schemas.base import AwareDatetime, Contract, JsonValue
from sagahook_schemas.identity import Phase


class StepScheduled(Contract):
    """Committed before the attempt runs: no effect without it. `times_out_at`: when it is given up."""

    ce_type: ClassVar[str] = "sagahook.step.scheduled.v1"

    step: str
    phase: Phase
    attempt: int
    idempotency_key: str
    times_out_at: AwareDatetime


class StepCompleted(Contract):
    """`result` at most 256 KiB as JSON."""

    ce_type: ClassVar[str] = "sagahook.step.completed.v1"

    step: str
    phase: Phase
    attempt: int
    result: JsonValue = None
    duration_ms: int = 0


class StepFailed(Contract):
    """An attempt failed. `outcome` is `unknown` where the effect may have been applied all the same (a
    time-out), else `failed`. `error` is `Type: message`, bounded."""

    ce_type: ClassVar[str] = "sagahook.step.failed.v1"

    step: str
    phase: Phase
    attempt: int
    error: str
    outcome: Literal["failed", "unknown"] = "failed"
    duration_ms: int = 0


class StepRetryScheduled(Contract):
    """The durable timer of the next attempt."""

    ce_type: ClassVar[str] = "sagahook.step.retry_scheduled.v1"

    step: str
    phase: Phase
    attempt: int
    due_at: AwareDatetime


class StepAttemptLost(Contract):
    """The attempt will have no outcome. reason: `crash`, its process went away while it ran (three of them suspend
    the saga); `stopped`, an orderly stop cancelled it; `never_begun`, its process let go before it began."""

    ce_type: ClassVar[str] = "sagahook.step.attempt_lost.v1"

    step: str
    phase: Phase
    attempt: int
    reason: Literal["crash", "stopped", "never_begun"]
