"""How the events of its steps change a saga. Each answers None where the event cannot follow."""

from __future__ import annotations

from collections.abc import Mapping

from sagahook_runner.domain.state import FINAL, Open, SagaState, item_name
from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase
from sagahook_schemas.steps import (
    CompensationResolved,
    StepAttemptLost,
    StepAwaiting,
    StepChildRequested,
    StepCompleted,
    StepContinued,
    StepDeclared,
    StepExpanded,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
    StepSkipped,
    StepSleeping,
)


def declared(state: SagaState, event: StepDeclared) -> SagaState | None:
    name = event.definition.name
    if not _may_begin(state, name) or name in state.declared or event.number != len(state.declared) + 1:
        return None
    asked = {**state.declared, name: event.definition.model_dump(mode="json")}
    return state.then(declared=asked, told=(*state.told, name))


def scheduled(state: SagaState, event: StepScheduled) -> SagaState | None:
    """A first attempt follows nothing of its step; a further one follows its own timer, or a resumption."""
    if event.phase == "compensation":
        if state.status != "COMPENSATING" or event.step not in state.to_undo:
            return None
    elif state.status != "EXECUTING" or state.failing or state.is_done(event.step):
        return None
    before = state.open.get(event.step)
    remote = event.participant is not None or (event.phase == "compensation" and event.step in state.children)
    if event.attempt == 1:
        if before is not None:
            return None
        # By position: this runs for every step of every saga.
        running = Open(
            event.step, event.phase, "running", 1, event.times_out_at, 0, 0, False, remote, event.deadline_at
        )
        return state.then(open={**state.open, event.step: running})
    if before is None or before.phase != event.phase or not _follows(before, event.attempt):
        return None
    running = before.but(standing="running", attempt=event.attempt, at=event.times_out_at, remote=remote)
    return state.then(open=state.with_open(running))


def completed(state: SagaState, event: StepCompleted) -> SagaState | None:
    before = _under_way(state, event.step, event.phase, event.attempt)
    if before is None or before.standing in ("failed", "waiting"):
        return None
    still_open = state.without_open(event.step)
    if event.phase == "compensation":
        return state.then(
            open=still_open, to_undo=tuple(step for step in state.to_undo if step != event.step)
        )
    if event.phase == "prepare":
        return state.then(open=still_open, prepared={**state.prepared, event.step: event.result})
    if before.standing == "each":
        return _gathered(state, event.step, still_open)
    changes: dict[str, object] = {}
    if event.step in state.declared:
        changes["told"] = (*state.told, event.step)
    if before.standing == "awaiting":
        taken = next((each for each in state.signals if each.name == before.signal), None)
        changes["signals"] = tuple(each for each in state.signals if each is not taken)
    if event.step in state.prepared and not before.remote:  # a participant is told it again to undo it
        changes["prepared"] = {name: each for name, each in state.prepared.items() if name != event.step}
    return state.then(open=still_open, results={**state.results, event.step: event.result}, **changes)


def failed(state: SagaState, event: StepFailed) -> SagaState | None:
    before = _under_way(state, event.step, event.phase, event.attempt)
    if before is None or before.standing in ("failed", "waiting"):
        return None
    after = before.but(
        standing="failed",
        failures=before.failures + 1,
        uncertain=before.uncertain or event.outcome == "unknown",
        error=event.error,
    )
    return state.then(open=state.with_open(after))


def lost(state: SagaState, event: StepAttemptLost) -> SagaState | None:
    before = _under_way(state, event.step, event.phase, event.attempt)
    if before is None or before.standing != "running":
        return None
    after = before.but(
        standing="failed",
        losses=before.losses + (event.reason == "crash"),
        uncertain=before.uncertain or event.reason != "never_begun",
    )
    return state.then(open=state.with_open(after))


def retry_scheduled(state: SagaState, event: StepRetryScheduled) -> SagaState | None:
    before = state.open.get(event.step)
    if before is None or before.phase != event.phase or before.standing != "failed" or state.failing:
        return None
    if event.attempt != before.attempt + 1 or state.status not in ("EXECUTING", "COMPENSATING"):
        return None
    after = before.but(standing="waiting", attempt=event.attempt, at=event.due_at)
    return state.then(open=state.with_open(after))


def continued(state: SagaState, event: StepContinued) -> SagaState | None:
    """It has begun something, so it is undone where the saga fails before it is done."""
    before = _under_way(state, event.step, event.phase, event.attempt)
    if before is None or before.standing != "running":
        return None
    after = before.but(
        standing="waiting",
        attempt=event.attempt + 1,
        at=event.due_at,
        carry=event.carry,
        failures=0,
        losses=0,
        uncertain=True,
    )
    return state.then(open=state.with_open(after))


def skipped(state: SagaState, event: StepSkipped) -> SagaState | None:
    if not _may_begin(state, event.step):
        return None
    prepared = {name: each for name, each in state.prepared.items() if name != event.step}
    return state.then(skipped=(*state.skipped, event.step), prepared=prepared)


def sleeping(state: SagaState, event: StepSleeping) -> SagaState | None:
    return _begun(state, Open(event.step, "action", "sleeping", at=event.due_at))


def awaiting(state: SagaState, event: StepAwaiting) -> SagaState | None:
    return _begun(state, Open(event.step, "action", "awaiting", at=event.due_at, signal=event.signal))


def child_requested(state: SagaState, event: StepChildRequested) -> SagaState | None:
    asked: JsonValue = {"name": event.name, "version": event.version, "context": event.context}
    children = state.children if event.step in state.children else (*state.children, event.step)
    return _begun(state, Open(event.step, "action", "child", carry=asked), children=children)


def expanded(state: SagaState, event: StepExpanded) -> SagaState | None:
    items = {**state.items, event.step: event.items}
    return _begun(state, Open(event.step, "action", "each"), items=items)


def compensation_resolved(state: SagaState, event: CompensationResolved) -> SagaState | None:
    stuck = state.status == "FAILED" or (state.status == "SUSPENDED" and state.resumes == "COMPENSATING")
    if not stuck or event.step not in state.to_undo:
        return None
    to_undo, left_behind, still_open = state.to_undo, state.left_behind, state.open
    failed = state.open.get(event.step)
    if event.how == "retry":
        if failed is not None:
            still_open = state.with_open(failed.but(failures=0, losses=0))
    else:
        still_open = state.without_open(event.step)
        to_undo = tuple(step for step in to_undo if step != event.step)
    if event.how == "skip":
        left_behind = (*left_behind, event.step)
    return state.then(
        status="COMPENSATING",
        resumes=None,
        reason=None,
        cause=None,
        open=still_open,
        to_undo=to_undo,
        left_behind=left_behind,
    )


def _begun(state: SagaState, opened: Open, **changes: object) -> SagaState | None:
    """For the first time, or once more after it failed, because an operator wants it."""
    before = state.open.get(opened.step)
    if before is not None and before.standing == "failed" and opened.standing in ("awaiting", "child"):
        opened = opened.but(uncertain=before.uncertain)
        state_before = state.then(open=state.without_open(opened.step))
    else:
        state_before = state
    if not _may_begin(state_before, opened.step):
        return None
    prepared = {name: each for name, each in state.prepared.items() if name != opened.step}
    return state.then(open=state.with_open(opened), prepared=prepared, **changes)


def _may_begin(state: SagaState, step: str) -> bool:
    return (
        state.status == "EXECUTING"
        and not state.failing
        and step not in state.open
        and not state.is_done(step)
    )


def _under_way(state: SagaState, step: str, phase: Phase, attempt: int) -> Open | None:
    """What the saga waits for, where it is just this."""
    if state.status in FINAL or state.status == "NEW":
        return None
    found = state.open.get(step)
    return found if found is not None and (found.phase, found.attempt) == (phase, attempt) else None


def _follows(before: Open, attempt: int) -> bool:
    if before.standing == "waiting":
        return attempt == before.attempt
    return before.standing == "failed" and attempt == before.attempt + 1


def _gathered(state: SagaState, step: str, still_open: Mapping[str, Open]) -> SagaState | None:
    """The items' results become the step's own."""
    names = [item_name(step, index) for index in range(len(state.items.get(step, ())))]
    if any(name not in state.results for name in names):
        return None
    gathered: list[JsonValue] = [state.results[name] for name in names]
    of_items = set(names)
    results = {name: each for name, each in state.results.items() if name not in of_items}
    items = {name: each for name, each in state.items.items() if name != step}
    return state.then(open=still_open, results={**results, step: gathered}, items=items)
