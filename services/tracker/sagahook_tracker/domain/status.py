"""The status words of api.md §1: one answer for everything that came in under a correlation id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sagahook_tracker.domain.runs import State, Step

Status = Literal[
    "queued", "processing", "triggered", "completed", "completed_with_failures", "failed", "ignored"
]
SagaStatus = Literal["pending", "executing", "compensating", "completed", "failed", "suspended"]

FINAL: frozenset[Status] = frozenset({"completed", "completed_with_failures", "failed", "ignored"})

SAGA_STATUSES: Mapping[State, SagaStatus] = {
    "PENDING": "pending",
    "EXECUTING": "executing",
    "COMPENSATING": "compensating",
    "COMPLETED": "completed",
    "ROLLED_BACK": "failed",
    "FAILED": "failed",
    "SUSPENDED": "suspended",
}


@dataclass(frozen=True, slots=True)
class SagaView:
    """A saga that an event asked for. run, state: None until it has started."""

    saga_id: str
    name: str
    run: int | None = None
    state: State | None = None
    error: str | None = None
    steps: tuple[Step, ...] = ()

    @property
    def status(self) -> SagaStatus:
        return SAGA_STATUSES[self.state] if self.state is not None else "pending"


@dataclass(frozen=True, slots=True)
class EventView:
    """One webhook. outcome: None until its route is known; a saga of it may be known before. lost_routes:
    triggers whose own code failed, so that a saga that may have been wanted was not asked for."""

    event_id: str
    outcome: Literal["triggered", "ignored", "failed"] | None = None
    reason: str | None = None
    sagas: tuple[SagaView, ...] = ()
    lost_routes: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    status: Status
    message: str
    sagas: tuple[SagaView, ...]

    @property
    def final(self) -> bool:
        """Whether nothing more happens, unless an operator asks for it."""
        return self.status in FINAL


def answer(events: Sequence[EventView]) -> Answer:
    """The status of all events together; at least one. A saga that several of them asked for counts once."""
    sagas = tuple({saga.saga_id: saga for event in events for saga in event.sagas}.values())
    status, message = _summary(events, sagas)
    return Answer(status, message, sagas)


def _summary(events: Sequence[EventView], sagas: Sequence[SagaView]) -> tuple[Status, str]:
    if all(event.outcome is None and not event.sagas for event in events):
        return "queued", "Event queued for processing"
    if any(event.outcome is None for event in events) or any(saga.state is None for saga in sagas):
        return "processing", "Event is being processed"
    completed = sum(saga.status == "completed" for saga in sagas)
    failed = sum(saga.status == "failed" for saga in sagas)
    if completed + failed < len(sagas):
        return "triggered", f"Event triggered {len(sagas)} saga(s), waiting for completion"
    return _final(events, completed, failed)


def _final(events: Sequence[EventView], completed: int, failed: int) -> tuple[Status, str]:
    lost = sum(event.lost_routes or event.outcome == "failed" for event in events)
    reasons = "; ".join(dict.fromkeys(event.reason for event in events if event.reason))
    if completed and failed + lost:
        return "completed_with_failures", f"{completed} saga(s) completed, {failed + lost} failed"
    if completed:
        return "completed", f"All {completed} saga(s) completed successfully"
    if failed:
        return "failed", "Saga execution failed"
    if lost:
        return "failed", reasons or "The event could not be processed"
    return "ignored", reasons or "No trigger wanted the event"
