"""What a saga's events ask of other sagas, limits and participants: commands, in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from sagahook_runner.domain.commands import ANY_ATTEMPT, Command, Undo
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import (
    CompleteStep,
    ParentStep,
    ReleaseChild,
    ReleaseSlot,
    RequestSlot,
    StartSaga,
    UndoChild,
)
from sagahook_schemas.identity import child_id, saga_event_id
from sagahook_schemas.sagas import (
    SagaCompleted,
    SagaFailed,
    SagaFailing,
    SagaLetGo,
    SagaReleased,
    SagaRolledBack,
    SagaStarted,
)
from sagahook_schemas.steps import StepChildRequested, StepScheduled


class Message(NamedTuple):
    """key: the saga id or limit key whose owner is asked."""

    key: str
    command: Contract


def messages(event: Contract, state: SagaState) -> Iterable[Message]:
    """state: after the event."""
    react = _REACTIONS.get(type(event))
    return react(event, state) if react is not None else ()


def answers(command: Command, state: SagaState) -> tuple[Message, ...]:
    """Where the command changed nothing: to a parent whose wish is fulfilled already, or can't be."""
    if not isinstance(command, Undo) or state.parent is None or state.failing:
        return ()
    if state.status == "ROLLED_BACK":
        return tuple(_to_parent(state, None, None, undone=True))
    if state.status in ("COMPENSATING", "NEW"):
        return ()
    error = f"ChildNotUndone: {state.name} {state.saga_id} is {state.status} and cannot be undone"
    return tuple(_to_parent(state, None, error, undone=True))


def _started(event: SagaStarted, state: SagaState) -> Iterable[Message]:
    return _request_slot(state) if event.held is None else ()


def _let_go(event: SagaLetGo, state: SagaState) -> Iterable[Message]:
    return _request_slot(state)


def _request_slot(state: SagaState) -> Iterable[Message]:
    if state.limit_key is None:
        return ()
    asked = RequestSlot(saga_id=state.saga_id, run=state.run, name=state.name)
    return (Message(state.limit_key, asked),)


def _child_requested(event: StepChildRequested, state: SagaState) -> Iterator[Message]:
    yield Message(
        event.child_id,
        StartSaga(
            name=event.name,
            version=event.version,
            source=state.source,
            event_id=saga_event_id(state.saga_id, state.run, state.sequence),
            correlation_id=state.correlation_id,
            context=event.context,
            user_id=state.user_id,
            traceparent=state.traceparent,
            erasure_key=state.erasure_key,
            parent=ParentStep(saga_id=state.saga_id, run=state.run, step=event.step),
            # A child that did not end well, asked for once more, runs anew.
            again=True,
        ),
    )


def _failing(event: SagaFailing, state: SagaState) -> Iterator[Message]:
    for opened in state.open.values():
        if opened.standing == "child":
            yield _undo(state, opened.step, event.error)


def _scheduled(event: StepScheduled, state: SagaState) -> Iterable[Message]:
    if event.phase == "compensation" and event.step in state.children:
        return (_undo(state, event.step, state.error or ""),)
    return ()


def _completed(event: SagaCompleted, state: SagaState) -> Iterable[Message]:
    if state.limit_key is None and state.parent is None and not state.children:
        return ()  # as most are
    return _completed_among_others(event, state)


def _completed_among_others(event: SagaCompleted, state: SagaState) -> Iterator[Message]:
    yield from _slot(state)
    yield from _to_parent(state, event.result, None, undone=False)
    if state.parent is None:
        yield from _release_children(state)


def _rolled_back(event: SagaRolledBack, state: SagaState) -> Iterator[Message]:
    yield from _slot(state)
    yield from _to_parent(state, None, f"ChildRolledBack: {event.error}", undone=False)
    yield from _to_parent(state, None, None, undone=True)
    if state.parent is None:
        yield from _release_children(state)


def _failed(event: SagaFailed, state: SagaState) -> Iterator[Message]:
    yield from _slot(state)
    error = f"ChildFailed: {event.error}"
    yield from _to_parent(state, None, error, undone=False, unknown=True)
    yield from _to_parent(state, None, error, undone=True)


def _released(event: SagaReleased, state: SagaState) -> Iterator[Message]:
    yield from _release_children(state)


def _release_children(state: SagaState) -> Iterator[Message]:
    for step in state.children:
        parent = ParentStep(saga_id=state.saga_id, run=state.run, step=step)
        yield Message(child_id(state.saga_id, state.run, step), ReleaseChild(parent=parent))


def _undo(state: SagaState, step: str, reason: str) -> Message:
    parent = ParentStep(saga_id=state.saga_id, run=state.run, step=step)
    return Message(child_id(state.saga_id, state.run, step), UndoChild(parent=parent, reason=reason))


def _slot(state: SagaState) -> Iterator[Message]:
    if state.limit_key is not None:
        yield Message(state.limit_key, ReleaseSlot(saga_id=state.saga_id, run=state.run))


def _to_parent(
    state: SagaState, result: Any, error: str | None, *, undone: bool, unknown: bool = False
) -> Iterator[Message]:
    """undone: the answer to the step's compensation, else to its action. The parent takes what it waits for."""
    if state.parent is None:
        return
    yield Message(
        state.parent.saga_id,
        CompleteStep(
            run=state.parent.run,
            step=state.parent.step,
            phase="compensation" if undone else "action",
            attempt=ANY_ATTEMPT,
            result=result,
            error=error,
            retryable=False,
            unknown=unknown,
        ),
    )


# The mapping pairs each event class with the function of exactly that class, which no type can express.
_REACTIONS: dict[type[Contract], Callable[[Any, SagaState], Iterable[Message]]] = {
    SagaStarted: _started,
    SagaLetGo: _let_go,
    StepChildRequested: _child_requested,
    SagaFailing: _failing,
    StepScheduled: _scheduled,
    SagaCompleted: _completed,
    SagaRolledBack: _rolled_back,
    SagaFailed: _failed,
    SagaReleased: _released,
}
