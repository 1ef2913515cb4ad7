"""The saga log: what happened to its steps. Attempts count from 1 in each phase.

The items of a step that is done for each of several are steps of their own: `charge[0]`, `charge[1]`, …
"""

from __future__ import annotations

from typing import ClassVar, Literal

from sagahook_schemas.base import AwareDatetime, Contract, JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import Phase


class StepScheduled(Contract):
    """Committed before the attempt runs: no effect without it. times_out_at: when it is given up. deadline_at: after
    it no further attempt is made. participant: who is asked over Kafka."""

    ce_type: ClassVar[str] = "sagahook.step.scheduled.v1"

    step: str
    phase: Phase
    attempt: int
    idempotency_key: str
    times_out_at: AwareDatetime
    deadline_at: AwareDatetime | None = None
    participant: str | None = None


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


class StepDeclared(Contract):
    """A function asked for a step: what a class would have in its definition. number: counts the function's steps
    from 1."""

    ce_type: ClassVar[str] = "sagahook.step.declared.v1"

    number: int
    definition: StepDefinition


class StepSkipped(Contract):
    """The step's own condition said that it is not wanted. It counts as done, without a result."""

    ce_type: ClassVar[str] = "sagahook.step.skipped.v1"

    step: str
    reason: str = ""


class StepSleeping(Contract):
    ce_type: ClassVar[str] = "sagahook.step.sleeping.v1"

    step: str
    due_at: AwareDatetime


class StepAwaiting(Contract):
    """The step waits for a signal; due_at: for how long."""

    ce_type: ClassVar[str] = "sagahook.step.awaiting.v1"

    step: str
    signal: str
    due_at: AwareDatetime | None = None


class StepChildRequested(Contract):
    """The step asked for a saga of its own, and ends when that does."""

    ce_type: ClassVar[str] = "sagahook.step.child_requested.v1"

    step: str
    child_id: str
    name: str
    version: int
    context: dict[str, JsonValue]


class StepExpanded(Contract):
    """The step is done for each of the items, as steps `name[0]`, `name[1]`, …; its result is the list of theirs."""

    ce_type: ClassVar[str] = "sagahook.step.expanded.v1"

    step: str
    items: tuple[JsonValue, ...]


class StepContinued(Contract):
    """The attempt ended without being done or failed: the action asked to be called again, with what it carries
    over."""

    ce_type: ClassVar[str] = "sagahook.step.continued.v1"

    step: str
    phase: Phase
    attempt: int
    due_at: AwareDatetime
    carry: JsonValue = None


class CompensationResolved(Contract):
    """An operator decided about a compensation that failed for good."""

    ce_type: ClassVar[str] = "sagahook.step.compensation_resolved.v1"

    step: str
    how: Literal["retry", "skip", "resolve"]
    actor: str
    reason: str = ""
    command_id: str | None = None


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
