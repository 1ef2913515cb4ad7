"""Whether a recorded history replays under what is deployed now, and where it does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sagahook.saga import SagaApp
from sagahook.saga.code import CodeSaga
from sagahook.testing.functions import play_again
from sagahook.testing.log import Happened, states
from sagahook_runner.domain.decide import compatible
from sagahook_runner.domain.state import FINAL, SagaState, item_of
from sagahook_schemas.definitions import SagaDefinition


class Divergence(NamedTuple):
    """sequence: of the event from which on the run could not go on. step: which step it is about; "" where none is.
    what: happened. do: what to do about it."""

    sequence: int
    step: str
    what: str
    do: str


async def divergence(app: SagaApp, events: Iterable[Happened]) -> Divergence | None:
    """Where the run, at whichever event it were, could not go on with the sagas of the app; None: nowhere.

    events: of one run, from its first on. Raises ValueError where they cannot follow each other.
    """
    happened = list(events)
    history = list(states(happened))
    for event, state in zip(happened, history, strict=True):
        if state.cause == "engine":
            raise ValueError(f"event {event.sequence} of the history cannot be: {state.reason}")
        found = _unfit(app, event, state)
        if found is not None:
            return found
    saga = app.get(history[-1].name, history[-1].version)
    if not isinstance(saga, CodeSaga):
        return None
    changed = await play_again(saga, happened, history[-1])
    if changed is None:
        return None
    do = f"keep the order of its requests, or give the new function version {saga.version + 1}"
    return Divergence(_declared_at(changed.step, happened), changed.step, changed.what, do)


def _unfit(app: SagaApp, event: Happened, state: SagaState) -> Divergence | None:
    """What the engine would park the run for, at this event."""
    saga = app.get(state.name, state.version)
    if saga is None:
        what = f"{state.name} version {state.version} is not there"
        return Divergence(
            event.sequence, "", what, "deploy that version beside the newer one, or migrate its runs"
        )
    definition = saga.definition
    if state.status in FINAL or state.status == "SUSPENDED":
        return None
    if (
        definition.code
        and state.results.keys() | state.open.keys() | set(state.skipped) <= state.declared.keys()
    ):
        return None
    if not definition.code and definition.hash == state.definition_hash:
        return None
    if not definition.code and compatible(state, definition):
        return None
    step, what = _why(definition, state)
    do = f"keep the steps that its runs began with, or give the new ones version {state.version + 1}"
    return Divergence(event.sequence, step or str(event.data.get("step", "")), what, do)


def _why(definition: SagaDefinition, state: SagaState) -> tuple[str, str]:
    """The step that does not fit, and why."""
    if definition.code:
        begun = next(iter([*state.results, *state.open, *state.skipped]))
        return begun, f"the run began {begun} as a step of a class, and the saga is a function now"
    for name in [*state.results, *state.skipped, *state.open]:
        base = item_of(name)[0]
        if base not in definition.by_name:
            return name, f"the run began the step {name}, which there is no more"
        for before in definition.predecessors[base]:
            if not state.is_done(before):
                return name, f"the run began the step {name} before {before}, which now has to be done first"
    for name in state.to_undo:
        if not definition.by_name[item_of(name)[0]].undoable:
            return name, f"the run has to undo the step {name}, which has no compensation any more"
    return "", "what the run has done does not fit the steps that there are"


def _declared_at(step: str, happened: list[Happened]) -> int:
    """Where the function asked for it, or the end."""
    for event in happened:
        if event.kind == "step.declared" and event.data["definition"]["name"] == step:
            return event.sequence
    return happened[-1].sequence
