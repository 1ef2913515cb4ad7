"""A decision in the making, and how a saga goes on by itself: what follows from its state alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sagahook_runner.domain.evolve import evolve, settled
from sagahook_runner.domain.known_steps import known_step, not_deployed, terms
from sagahook_runner.domain.preparation import unfit
from sagahook_runner.domain.state import SagaState, item_name, item_of
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.definitions import SagaDefinition, StepDefinition
from sagahook_schemas.identity import Phase, child_id, idempotency_key
from sagahook_schemas.sagas import (
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaFailing,
    SagaRolledBack,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAwaiting,
    StepChildRequested,
    StepCompleted,
    StepExpanded,
    StepScheduled,
    StepSkipped,
    StepSleeping,
)


@lru_cache(maxsize=256)
def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class Decision:
    """Events, each with the state after it. definition: None where none is deployed that carries the saga."""

    __slots__ = ("definition", "now", "state", "told")

    def __init__(self, state: SagaState, definition: SagaDefinition | None, now: datetime) -> None:
        self.state = state
        self.definition = definition
        self.now = now
        self.told: list[tuple[Contract, SagaState]] = []

    def emit(self, event: Contract) -> None:
        self.state = evolve(self.state, event)
        self.told.append((event, self.state))

    # -- what a definition says -----------------------------------------------------------------------------

    def step(self, name: str) -> StepDefinition:
        found = known_step(self.definition, self.state, name)
        if found is None:
            raise AssertionError(f"{self.state.name} has no step {name}, yet it is under way")
        return found

    @property
    def is_past_pivot(self) -> bool:
        """Whether nothing may be undone any more; also where that cannot be known."""
        state = self.state
        unsure = {name for name, each in state.open.items() if each.uncertain and each.phase == "action"}
        touched = {*state.results, *state.uncertain, *unsure}
        return any(
            step.pivot
            for name in touched
            if (step := known_step(self.definition, state, item_of(name)[0])) is not None
        )

    # -- going on -------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Whatever follows from the state by itself."""
        if self.definition is None:
            if self.state.status in ("EXECUTING", "COMPENSATING"):
                self.emit(not_deployed(self.state))
            return
        if self.state.status == "EXECUTING":
            if self.state.failing:
                self._compensate_when_settled()
            else:
                self._dispatch(self.definition)
        if self.state.status == "COMPENSATING":
            self._undo(self.definition)

    def fail(self, failed_step: str, error: str) -> None:
        """Call the run off: nothing more begins; what is under way is waited for; what was done is undone."""
        if self.is_past_pivot:
            self.emit(_forward(failed_step, error))
        elif settled(self.state)[0]:
            self.emit(SagaFailing(failed_step=failed_step, error=error))
        else:
            self.begin_undoing(failed_step, error)

    def _compensate_when_settled(self) -> None:
        if settled(self.state)[0]:
            return
        failed_step, error = self.state.failed_step or "", self.state.error or ""
        if self.is_past_pivot:
            self.emit(_forward(failed_step, error))
        else:
            self.begin_undoing(failed_step, error)

    def begin_undoing(self, failed_step: str, error: str) -> None:
        undo = self.to_undo()
        self.emit(SagaCompensating(failed_step=failed_step, error=error, steps=undo))
        self.go_on()

    def to_undo(self) -> tuple[str, ...]:
        """What was done or may have been, in reverse topological order; within a level the last one first."""
        definition = self.definition
        if definition is None:
            return ()
        touched: list[str] = []
        for name, result in self.state.results.items():
            if self.step(name).does == "each" and isinstance(result, list):
                touched += [item_name(name, index) for index in range(len(result))]
            else:
                touched.append(name)
        touched += [name for name in settled(self.state)[1] if name not in touched]
        levels = definition.levels
        undoable = [name for name in reversed(touched) if self.step(name).undoable]
        return tuple(sorted(undoable, key=lambda name: -levels.get(item_of(name)[0], 0)))

    def _dispatch(self, definition: SagaDefinition) -> None:
        """Begin every step whose predecessors are done; complete the saga when there is none left."""
        if definition.code:
            return
        again = True
        while again:
            again, left = False, False
            for step, needed in definition.plan:
                state, name = self.state, step.name
                results = state.results
                if name in results or name in state.skipped:
                    continue
                left = True
                if state.status != "EXECUTING":
                    return
                if name in state.open:
                    if state.open[name].standing == "each":
                        again |= self._feed(step)
                    continue
                for before in needed:
                    if before not in results and before not in state.skipped:
                        break
                else:
                    again |= self.begin(step)
        if not left:
            self.emit(SagaCompleted(name=self.state.name, result=self._output(definition)))

    def _output(self, definition: SagaDefinition) -> JsonValue:
        """What a parent is told: the result of the last step."""
        if self.state.parent is None or not definition.steps:
            return None
        return self.state.results.get(definition.steps[-1].name)

    def begin(self, step: StepDefinition, value: Any = None) -> bool:
        """Whether the step is done already. value: what a preparation would say, where there is none."""
        state, name = self.state, step.name
        plain = step.does == "action" and not step.prepares and not state.prepared  # as most are
        if plain or (step.prepares and name not in state.prepared):
            self.schedule(name, "action" if plain else "prepare", 1, step)
            return False
        said: Any = state.prepared.get(name) or {}
        if "skip" in said:
            self.emit(StepSkipped(step=name, reason=str(said["skip"])))
            return True
        value = said.get("value", value)
        wrong = unfit(step, {"value": value}) if step.does in ("sleep", "each", "child") else None
        if wrong is not None:
            # It was prepared under another definition, or this one prepares nothing.
            self.emit(SagaSuspended(reason=wrong, cause="definition"))
            return False
        match step.does:
            case "action" | "participant":
                self.schedule(name, "action", 1, step)
            case "sleep":
                self.emit(StepSleeping(step=name, due_at=self._wakes_at(step, value)))
            case "signal":
                return self._await_signal(step)
            case "child":
                self._request_child(name, value)
            case "each":
                self.emit(StepExpanded(step=name, items=tuple(value)))
                return self._feed(step)
        return False

    def _request_child(self, name: str, asked: Any) -> None:
        self.emit(
            StepChildRequested(
                step=name,
                child_id=child_id(self.state.saga_id, self.state.run, name),
                name=asked["name"],
                version=asked["version"],
                context=asked["context"],
            )
        )

    def begin_anew(self, step: StepDefinition) -> None:
        """A wait that ended without its signal, a child that did not end well: asked for once more."""
        if step.does == "signal":
            self._await_signal(step)
        else:
            self._request_child(step.name, self.state.open[step.name].carry)

    def _wakes_at(self, step: StepDefinition, value: JsonValue) -> datetime:
        if isinstance(value, str):
            return max(self.now, datetime.fromisoformat(value))
        seconds = value if isinstance(value, int | float) else step.seconds or 0.0
        return self.now + timedelta(seconds=max(0.0, seconds))

    def _await_signal(self, step: StepDefinition) -> bool:
        signal = step.signal or step.name
        due = None if step.patience is None else self.now + timedelta(seconds=step.patience)
        self.emit(StepAwaiting(step=step.name, signal=signal, due_at=due))
        return self.take_signal(step.name)

    def take_signal(self, step: str) -> bool:
        """Whether the signal that the step waits for is there."""
        waiting = self.state.open.get(step)
        if waiting is None or waiting.standing != "awaiting":
            return False
        taken = next((each for each in self.state.signals if each.name == waiting.signal), None)
        if taken is None:
            return False
        self.emit(StepCompleted(step=step, phase="action", attempt=1, result=taken.payload))
        return True

    def _feed(self, step: StepDefinition) -> bool:
        """Begin as many items as may run at once. Whether the step is done."""
        name = step.name
        names = [item_name(name, index) for index in range(len(self.state.items[name]))]
        room = step.concurrency or len(names)
        room -= sum(item in self.state.open for item in names)
        for item in names:
            if room <= 0:
                return False
            if item not in self.state.open and item not in self.state.results:
                self.schedule(item, "action", 1)
                room -= 1
        if any(item in self.state.open for item in names):
            return False
        self.emit(StepCompleted(step=name, phase="action", attempt=1))
        return True

    def _undo(self, definition: SagaDefinition) -> None:
        """Compensate what is next; end when nothing is left, or when one failed for good."""
        state = self.state
        if any(each.standing == "failed" for each in state.open.values()):
            # Those at work beside it, also what has retries left, come to their own end first.
            if all(each.standing == "failed" for each in state.open.values()):
                self._fail_compensation()
            return
        if not state.to_undo:
            if not state.open:
                self._end_undoing()
            return
        level = definition.levels.get(item_of(state.to_undo[0])[0])
        for name in state.to_undo:
            at_once = (
                definition.compensation == "parallel" and definition.levels.get(item_of(name)[0]) == level
            )
            if name != state.to_undo[0] and not at_once:
                return
            if name not in state.open:
                self.schedule(name, "compensation", 1)

    def _end_undoing(self) -> None:
        state = self.state
        failed_step, error = state.failed_step or "", state.error or ""
        if state.left_behind:
            event: Contract = SagaFailed(
                name=state.name, failed_step=failed_step, error=error, unresolved=state.left_behind
            )
        else:
            event = SagaRolledBack(name=state.name, failed_step=failed_step, error=error)
        self.emit(event)

    def _fail_compensation(self) -> None:
        state = self.state
        stuck = next(each for each in state.open.values() if each.standing == "failed")
        self.emit(
            SagaFailed(
                name=state.name,
                failed_step=state.failed_step or "",
                error=f"the compensation of {stuck.step} failed for good: {stuck.error}",
                unresolved=(*state.to_undo, *state.left_behind),
            )
        )

    def schedule(self, name: str, phase: Phase, attempt: int, step: StepDefinition | None = None) -> None:
        step = step or self.step(name)
        began = self.state.open.get(name)
        deadline = began.deadline_at if began is not None else None
        if began is None and step.deadline is not None and phase == "action":
            deadline = self.now + timedelta(seconds=step.deadline)
        self.emit(
            StepScheduled(
                step=name,
                phase=phase,
                attempt=attempt,
                idempotency_key=idempotency_key(self.state.saga_id, self.state.run, name, phase),
                times_out_at=self.now + _span(terms(step, phase)[0]),
                deadline_at=deadline,
                participant=step.participant if phase != "prepare" else None,
            )
        )


def _forward(failed_step: str, error: str) -> SagaSuspended:
    what = f"{failed_step or 'the run'} failed for good past the pivot, where nothing is undone any more"
    return SagaSuspended(reason=f"{what}: {error}; mend the cause, then retry", cause="forward")
