"""What the notifier remembers of each saga, folded from its log: what a webhook about it will say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from orjson import dumps

from sagahook_schemas import sagas, steps
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.envelope import Envelope

FINAL = frozenset({"COMPLETED", "ROLLED_BACK", "FAILED"})
"""The states in which nothing more happens, unless an operator asks for another run."""

RESULTS_LIMIT = 256 * 1024
"""Bytes of all step results, as JSON, that are remembered of a saga."""

ATTRIBUTES_LIMIT = 32 * 1024
"""Bytes of its attributes."""

PROGRESS_MARKS = (0.25, 0.5, 0.75)
"""api.md §6."""

CORRELATIONS_LIMIT = 50
"""Correlation ids that are remembered of one saga: the first ones."""


@dataclass(frozen=True, slots=True)
class SagaView:
    """A saga's newest run. `sequence` is that of the last event that was folded in.

    state: by its name in api.md §1. results: by step; None once they outgrew `RESULTS_LIMIT`. attributes: None where
    there are none, or they are larger than `ATTRIBUTES_LIMIT`. error: why it failed or stands still. completed_steps,
    skipped_steps: the items of a step are none. said_progress: what an action said, 0 to 1; message: with that.
    furthest: the progress that it once had.
    """

    saga_id: str
    run: int
    sequence: int
    name: str
    source: str = ""
    correlation_ids: tuple[str, ...] = ()
    state: str = "EXECUTING"
    total_steps: int = 0
    completed_steps: int = 0
    results: dict[str, JsonValue] | None = field(default_factory=dict)
    error: str | None = None
    version: int = 0
    user_id: str | None = None
    attributes: dict[str, JsonValue] | None = None
    skipped_steps: int = 0
    said_progress: float | None = None
    message: str | None = None
    furthest: float = 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1: what an action said, else the share of the steps that are done or were not wanted. A function's
        steps are not known beforehand, so of it counts what it said alone."""
        if self.state == "COMPLETED":
            return 1.0
        if self.said_progress is not None:
            return min(1.0, max(0.0, self.said_progress))
        done = self.completed_steps + self.skipped_steps
        return min(1.0, done / self.total_steps) if self.total_steps else 0.0

    def has_seen(self, envelope: Envelope) -> bool:
        """Whether the event was folded in before (or belongs to an earlier run): this is a replay."""
        return (envelope.run, envelope.sequence) <= (self.run, self.sequence)


def crossed(before: SagaView | None, after: SagaView) -> tuple[float, ...]:
    """The marks that the run's progress passed by one event, each of them once in the run."""
    same_run = before is not None and before.run == after.run
    furthest = max(before.furthest, before.progress) if before is not None and same_run else 0.0
    return tuple(mark for mark in PROGRESS_MARKS if furthest < mark <= after.furthest)


def evolve(view: SagaView | None, envelope: Envelope, event: Contract) -> SagaView:
    """The view after one event. Total: an event without a beginning, or of no interest, only moves the
    sequence on."""
    if view is None:
        view = SagaView(envelope.saga_id, envelope.run, 0, name=envelope.subject)
    changes: dict[str, Any] = {}
    match event:
        case sagas.SagaStarted():
            changes = {
                "name": event.name,
                "source": event.source,
                "correlation_ids": _with(view.correlation_ids, event.correlation_id),
                "state": "EXECUTING",
                "total_steps": event.total_steps,
                "completed_steps": 0,
                "results": {},
                "error": None,
                "version": event.version,
                "user_id": event.user_id,
                "attributes": _within(event.attributes, ATTRIBUTES_LIMIT),
                "skipped_steps": 0,
                "said_progress": None,
                "message": None,
                "furthest": 0.0,
            }
        case sagas.SagaJoined():
            changes = {
                "name": event.name,
                "source": view.source or event.source,
                "state": event.state,
                "correlation_ids": _with(view.correlation_ids, event.correlation_id),
            }
        case steps.StepCompleted(phase="action") if view.state != "COMPENSATING" and not _is_item(event.step):
            changes = {
                "state": "EXECUTING",
                "error": None,  # of a suspension that is over
                "completed_steps": view.completed_steps + 1,
                "results": _with_result(view.results, event.step, event.result),
            }
        case steps.StepSkipped() if not _is_item(event.step):
            changes = {"skipped_steps": view.skipped_steps + 1}
        case sagas.SagaProgressed():
            changes = {"said_progress": event.progress, "message": event.message or None}
        case sagas.SagaCompensating():
            changes = {"state": "COMPENSATING", "error": event.error}
        case sagas.SagaCompleted():
            changes = {"name": event.name, "state": "COMPLETED", "error": None}
        case sagas.SagaRolledBack():
            changes = {"name": event.name, "state": "ROLLED_BACK", "error": event.error}
        case sagas.SagaFailed():
            changes = {"name": event.name, "state": "FAILED", "error": event.error}
        case sagas.SagaSuspended():
            changes = {"state": "SUSPENDED", "error": event.reason}
    after = replace(view, run=envelope.run, sequence=envelope.sequence, **changes)
    return after if after.progress <= after.furthest else replace(after, furthest=after.progress)


def _with(correlation_ids: tuple[str, ...], further: str) -> tuple[str, ...]:
    if further in correlation_ids or len(correlation_ids) >= CORRELATIONS_LIMIT:
        return correlation_ids
    return (*correlation_ids, further)


def _is_item(step: str) -> bool:
    """`charge[0]`: the step `charge` counts, once all of them are done."""
    return step.endswith("]")


def _within(attributes: dict[str, JsonValue] | None, limit: int) -> dict[str, JsonValue] | None:
    return attributes if attributes is not None and len(dumps(attributes)) <= limit else None


def _with_result(
    results: dict[str, JsonValue] | None, step: str, result: JsonValue
) -> dict[str, JsonValue] | None:
    if results is None or result is None:
        return results
    together = results | {step: result}
    return together if len(dumps(together)) <= RESULTS_LIMIT else None
