"""What a journal in one process knows of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sagahook.saga.context import StepContext
from sagahook.saga.errors import DefinitionError
from sagahook.saga.journal import CodeFirst, OrderChanged, UndoCall
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import Phase, idempotency_key

if TYPE_CHECKING:
    from sagahook.saga.local import LocalJournal


@dataclass(slots=True)
class LocalStep:
    """state: `unknown` from the moment an action was first called until it is known what came of it."""

    definition: StepDefinition
    compensation: UndoCall | None
    state: Literal["begun", "unknown", "completed", "failed", "undone"] = "begun"
    result: Any = None
    child: LocalJournal | None = None
    undo_error: str = ""

    @property
    def is_to_undo(self) -> bool:
        undoable = self.compensation is not None or self.child is not None
        return undoable and self.state in ("completed", "unknown")


def step_context(
    journal: LocalJournal, steps: Iterable[LocalStep], step: str, phase: Phase, attempt: int, carry: JsonValue
) -> StepContext:
    return StepContext(
        saga=journal.saga,
        saga_id=journal.saga_id,
        run=1,
        step=step,
        phase=phase,
        attempt=attempt,
        correlation_id=journal.correlation_id,
        idempotency_key=idempotency_key(journal.saga_id, 1, step, phase),
        action_key=idempotency_key(journal.saga_id, 1, step, "action"),
        context=journal.context,
        results={each.definition.name: each.result for each in steps if each.state == "completed"},
        carry=carry,
    )


def seconds_until(until: JsonValue, now: Callable[[], datetime]) -> float:
    """until: seconds, or an RFC 3339 time."""
    if isinstance(until, str):
        return max(0.0, (datetime.fromisoformat(until) - now()).total_seconds())
    return float(until) if isinstance(until, int | float) else 0.0


def check_same(number: int, remembered: StepDefinition, asked: StepDefinition) -> None:
    """Raises OrderChanged."""
    if (remembered.name, remembered.does) != (asked.name, asked.does):
        raise OrderChanged(number, f"{remembered.name} ({remembered.does})", f"{asked.name} ({asked.does})")


def child_asked_for(
    step: str, arguments: dict[str, JsonValue], sagas: Mapping[str, CodeFirst]
) -> tuple[CodeFirst, dict[str, JsonValue]]:
    """The saga and its context. Raises DefinitionError."""
    name, version, context = arguments["name"], arguments["version"], arguments["context"]
    saga = sagas.get(str(name))
    if saga is None or version not in (None, saga.version) or not isinstance(context, dict):
        raise DefinitionError(
            f"the step {step!r} runs the saga {name!r}{'' if version is None else f' in version {version}'}, which "
            "is not known here: give it to LocalJournal(sagas=[…]); a saga that is a class needs the engine, or "
            "the testing kit"
        )
    return saga, context
