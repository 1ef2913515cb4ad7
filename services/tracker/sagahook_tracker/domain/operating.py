"""What an operator may ask of a run, as far as the views can say. The saga's owner has the last word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_schemas.definitions import SagaDefinition
from sagahook_tracker.domain.runs import FINAL, Run, State


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sagas, each by its newest run; None or empty: any. attributes: alternatives, of which one must be
    contained in the run's. started_before, started_after: exclusive."""

    states: tuple[State, ...] = ()
    name: str | None = None
    version: int | None = None
    cause: str | None = None
    source: str | None = None
    attributes: tuple[dict[str, JsonValue], ...] = ()
    started_before: datetime | None = None
    started_after: datetime | None = None


def refusal(command: Contract, run: Run, definition: SagaDefinition | None) -> str | None:
    """Why the command makes no sense for the run as it is; None: it does. definition: the run's, where it is known."""
    match command:
        case CancelSaga():
            return _cancelling(run, definition)
        case RetrySaga():
            return _retrying(run)
        case ResolveCompensation(step=step):
            return _resolving(run, step)
        case SignalSaga() | MigrateSaga() if run.state in FINAL:
            return f"The saga is {run.state}, and final: retry it first, where it may be run again"
    return None


def _cancelling(run: Run, definition: SagaDefinition | None) -> str | None:
    if run.state in FINAL:
        return f"The saga is {run.state}, and final: there is nothing to cancel"
    if run.undoing:
        return "The saga is being undone already: watch it, and retry it where it is suspended"
    passed = passed_pivot(definition, run.completed_steps)
    if passed is not None:
        return (
            f"The saga is past its pivot {passed!r}, and nothing is undone any more: let it end, or retry it "
            "where it is suspended"
        )
    return None


def passed_pivot(definition: SagaDefinition | None, completed: Collection[str]) -> str | None:
    steps = () if definition is None else definition.steps
    return next((step.name for step in steps if step.pivot and step.name in completed), None)


def _retrying(run: Run) -> str | None:
    if run.state in ("SUSPENDED", "ROLLED_BACK", "FAILED"):
        return None
    return f"The saga is {run.state}: only one that is suspended, rolled back or failed can be retried"


def _resolving(run: Run, step: str) -> str | None:
    if run.state != "FAILED":
        return f"The saga is {run.state}: compensations are resolved once it is FAILED"
    if step not in run.unresolved:
        left = ", ".join(run.unresolved) or "none"
        return f"The step {step!r} has no compensation that failed for good; those that have: {left}"
    return None
