"""One run of a saga, as the views have it. `sagahook_tracker.domain.evolve` says how it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import ParentStep

State = Literal["PENDING", "EXECUTING", "COMPENSATING", "COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"]
StepStatus = Literal[
    "preparing",
    "running",
    "waiting",
    "retrying",
    "completed",
    "skipped",
    "failed",
    "cancelled",
    "compensating",
    "compensated",
    "compensation_failed",
]
"""preparing: the author's code says whether and with what. waiting: for a time, a signal or another turn.
skipped: not wanted. cancelled: it had begun, and the saga gave up before it had an outcome."""

FINAL: frozenset[State] = frozenset({"COMPLETED", "ROLLED_BACK", "FAILED"})

TaskStatus = Literal["pending", "running", "completed", "failed"]

TASK_STATUSES: Mapping[State, TaskStatus] = {
    "PENDING": "pending",
    "EXECUTING": "running",
    "COMPENSATING": "running",
    "SUSPENDED": "running",
    "COMPLETED": "completed",
    "ROLLED_BACK": "failed",
    "FAILED": "failed",
}
"""The words of api.md §3; `tracker.runs.status` says the same."""

RunKey = tuple[str, int]
"""saga id, run"""


@dataclass(slots=True)
class Step:
    """attempts: of the action, including the one that runs. error: of the last attempt that failed. child_id: the saga
    that the step runs. signal: the one that it waits for. due_at (RFC 3339): when it goes on by itself."""

    name: str
    status: StepStatus
    attempts: int = 0
    error: str | None = None
    compensation_attempts: int = 0
    child_id: str | None = None
    signal: str | None = None
    due_at: str | None = None

    @property
    def is_item(self) -> bool:
        """Whether it is one of the items of another step: `charge[0]` of `charge`."""
        return self.name.endswith("]")


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator did to the run. at: RFC 3339. why: why the engine refused it; None: it did not."""

    what: str
    at: str
    actor: str
    reason: str = ""
    why: str | None = None
    command_id: str | None = None


ACTS = 20
"""How many of a run's last acts the views keep; the log has all."""


@dataclass(slots=True)
class Run:
    """One run, up to the event `sequence`. Only `evolve` changes it, in place: a copy for each event would be most of
    the projector's work.

    number: from the position of its first event. steps: in the order in which they were first scheduled, items
    too. completed_steps: those whose action succeeded, in the order of completion; undoing one does not remove
    it, and items are not among them. error: why the saga did not succeed; reason, cause: why it is suspended;
    suspended_in: the state that it goes back to. context: None where a later event is the first that is known.
    said_progress: what an action said, 0 to 1. unresolved: steps whose effects are left behind. acts: the last
    ones of operators. event_id: of the webhook that started it, a child's is its parent's. held: it is pending
    behind a pause. result: of its end, where that is among the events that were folded since it was loaded.
    """

    saga_id: str
    run: int
    number: int
    sequence: int = 0
    name: str = ""
    version: int = 0
    definition_hash: str | None = None
    source: str | None = None
    correlation_id: str | None = None
    event_id: str | None = None
    state: State = "PENDING"
    held: bool = False
    suspended_in: State | None = None
    user_id: str | None = None
    context: dict[str, JsonValue] | None = None
    attributes: dict[str, JsonValue] | None = None
    parent: ParentStep | None = None
    limit_key: str | None = None
    deadline_at: datetime | None = None
    total_steps: int = 0
    steps: tuple[Step, ...] = ()
    completed_steps: tuple[str, ...] = ()
    said_progress: float | None = None
    message: str | None = None
    failed_step: str | None = None
    error: str | None = None
    unresolved: tuple[str, ...] = ()
    result: JsonValue = None
    reason: str | None = None
    cause: str | None = None
    acts: tuple[Act, ...] = ()
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def key(self) -> RunKey:
        return self.saga_id, self.run

    @property
    def attempts(self) -> int:
        """Attempts of all actions and compensations so far."""
        return sum(step.attempts + step.compensation_attempts for step in self.steps)

    @property
    def progress(self) -> float:
        """0 to 1: what an action said, else the share of the steps that are done or were not wanted."""
        if self.state == "COMPLETED":
            return 1.0
        if self.said_progress is not None:
            return min(1.0, max(0.0, self.said_progress))
        if not self.total_steps:
            return 0.0
        done = len(self.completed_steps)
        for step in self.steps:
            if step.status == "skipped" and not step.is_item:
                done += 1
        return min(1.0, done / self.total_steps)

    @property
    def undoing(self) -> bool:
        """Whether it undoes what it did, or is suspended while it does."""
        return "COMPENSATING" in (self.state, self.suspended_in)
