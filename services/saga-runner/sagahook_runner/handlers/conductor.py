"""Plays the functions of code-first sagas beside their logs: what a function asks for becomes commands to its saga's
owner, and what the log remembers answers it.

A function is played again from its beginning by whoever owns the saga next, or when something is to be called that
only it knows: it holds the actions and compensations. It goes on only with what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sagahook.saga import Saga, SagaApp, StepContext
from sagahook.saga.calls import settled
from sagahook.saga.code import CodeSaga
from sagahook.saga.code_context import CodeContext
from sagahook.saga.journal import (
    ActionCall,
    OrderChanged,
    Requests,
    StepFailed,
    Stopped,
    UndoCall,
    again,
    play,
)
from sagahook.saga.replay import Answered, Asked, Replay
from sagahook_runner.domain.commands import Command, FunctionEnded, Park, RequestStep
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import Phase
from sagahook_schemas.sagas import SagaAdmitted, SagaResumed, SagaStarted
from sagahook_schemas.steps import StepCompleted, StepDeclared
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept, told

_ERROR_LIMIT = 2_000

Say = Callable[[int, str, Command], None]
"""partition, saga id, command"""

_Calls = tuple[ActionCall | None, UndoCall | None]


class Conductor:
    """One run's function. It is the function's `Journal`."""

    def __init__(
        self, saga: CodeSaga, state: SagaState, app: SagaApp, say: Callable[[Command], None]
    ) -> None:
        self.run = state.run
        self._saga = saga
        self._app = app
        self._say = say
        self._state = state
        self._replay = Replay(_script(state))
        self._failure: StepFailed | None = None
        self._calls: dict[str, asyncio.Future[_Calls]] = {}
        self._requests = Requests(self, asyncio.get_running_loop())
        if _has_failed(state):
            self._fail(state)
        self._task = asyncio.create_task(self._play(), name=f"function of {state.saga_id}")

    def hear(self, entry: Entry) -> None:
        """What has been committed."""
        event, self._state = entry.event, entry.state
        match event:
            case StepDeclared():
                definition = event.definition
                self._replay.add(Asked(event.number, definition.name, definition.does))
            case StepCompleted(phase="action") if event.step in entry.state.declared:
                number = _number(entry.state, event.step)
                self._replay.add(Answered(number, entry.state.result_of(event.step)))
        if self._failure is None and _has_failed(entry.state):
            self._fail(entry.state)

    async def calls(self, step: str) -> _Calls:
        """The step's action and compensation, once the function has asked for it. Raises OrderChanged."""
        return await asyncio.shield(self._call(step))

    def stop(self) -> None:
        self._requests.stop()
        self._task.cancel()

    async def request(
        self,
        number: int,
        definition: StepDefinition,
        action: ActionCall | None,
        compensation: UndoCall | None,
        arguments: JsonValue,
    ) -> JsonValue:
        """See `sagahook.saga.journal.Journal`."""
        self._replay.check(number, definition)
        call = self._call(definition.name)
        if not call.done():
            call.set_result((action, compensation))
        if not self._replay.knows(number):
            if self._failure is not None:
                raise again(self._failure)
            self._say(RequestStep(self.run, number, definition, self._value(definition, arguments)))
        return await self._replay.answer(number, definition)

    async def _play(self) -> None:
        state = self._state
        context = CodeContext(
            self._requests,
            saga=state.name,
            saga_id=state.saga_id,
            run=state.run,
            correlation_id=state.correlation_id,
            context=dict(state.context),
            user_id=state.user_id,
        )
        missing: Exception = OrderChanged(0, "this step", "nothing of that name")
        try:
            result = await play(self._saga.function, self._requests, context, dict(state.context))
            self._replay.finish()
            self._say(FunctionEnded(self.run, kept(result, CONTEXT_LIMIT), None))
        except (StepFailed, Stopped, asyncio.CancelledError):
            pass  # the log knows why, or whoever plays it next
        except OrderChanged as changed:
            missing = changed
            self._say(Park(f"{changed}: deploy the code that it began with, then retry", cause="order"))
        except NotKept as unfit:
            self._say(FunctionEnded(self.run, None, f"result_{unfit}"))
        except Exception as raised:
            self._say(FunctionEnded(self.run, None, told(raised, _ERROR_LIMIT)))
        for call in self._calls.values():
            if not call.done():
                call.set_exception(missing)
                call.exception()  # somebody may ask for it later; asyncio need not warn until then

    def _call(self, step: str) -> asyncio.Future[_Calls]:
        if step not in self._calls:
            self._calls[step] = asyncio.get_running_loop().create_future()
        return self._calls[step]

    def _fail(self, state: SagaState) -> None:
        """The function is to end: by the failure of the step that it waits for, or because it is called off."""
        failed_step = state.failed_step or ""
        self._failure = StepFailed(failed_step, state.error or "")
        if failed_step in state.declared and failed_step not in state.results:
            self._replay.add(Answered(_number(state, failed_step), error=state.error or ""))

    def _value(self, definition: StepDefinition, arguments: JsonValue) -> JsonValue:
        if definition.does != "child" or not isinstance(arguments, dict):
            return arguments
        version = arguments.get("version")
        if version is None:
            newest = {saga.name: saga.version for saga in self._app.newest()}
            version = newest.get(str(arguments["name"]), 1)
        return {**arguments, "version": version}


class Conductors:
    """The functions that are played in this process, by saga."""

    def __init__(self, app: SagaApp, say: Say) -> None:
        self._app = app
        self._say = say
        self._playing: dict[str, tuple[int, Conductor]] = {}

    def follow(self, partition: int, entries: Iterable[Entry]) -> None:
        """What was committed of code-first sagas, in order."""
        for entry in entries:
            playing = self._playing.get(entry.saga_id)
            resumed = isinstance(entry.event, SagaResumed)
            if playing is not None and (playing[1].run != entry.run or resumed):
                self._stop(entry.saga_id)
                playing = None
            if playing is not None:
                playing[1].hear(entry)
            elif isinstance(entry.event, SagaStarted | SagaAdmitted | SagaResumed | StepCompleted):
                self.go_on(partition, entry.state)
            if entry.state.status in FINAL:
                self._stop(entry.saga_id)

    def go_on(self, partition: int, state: SagaState) -> None:
        """Play the function where it is its turn; while all that it asked for is under way it may wait unplayed."""
        if state.status == "EXECUTING" and not state.failing:
            self._conductor(partition, state)

    def drop(self, partition: int) -> None:
        """The partition's owner is gone, and with it what was not committed."""
        for saga_id in [each for each, (where, _) in self._playing.items() if where == partition]:
            self._stop(saga_id)

    def code(self, partition: int, state: SagaState, step: str, phase: Phase) -> Callable[..., Any]:
        """What an attempt of the step calls."""
        conductor = self._conductor(partition, state)

        async def call(context: StepContext, *result: JsonValue) -> Any:
            action, undo = await conductor.calls(step)
            function: Callable[..., Any] | None = action if phase == "action" else undo
            if function is None:
                raise OrderChanged(0, f"a {phase} of {step}", "none")
            return await settled(function, context, *result)

        return call

    def _conductor(self, partition: int, state: SagaState) -> Conductor:
        found = self._playing.get(state.saga_id)
        if found is not None and found[1].run == state.run:
            return found[1]
        saga = self._app.get(state.name, state.version)
        if not isinstance(saga, CodeSaga):
            raise AssertionError(f"{state.name} version {state.version} is no function")
        saga_id = state.saga_id
        conductor = Conductor(saga, state, self._app, lambda command: self._say(partition, saga_id, command))
        self._playing[saga_id] = (partition, conductor)
        return conductor

    def _stop(self, saga_id: str) -> None:
        found = self._playing.pop(saga_id, None)
        if found is not None:
            found[1].stop()


def is_code(saga: Saga | None) -> bool:
    return isinstance(saga, CodeSaga)


def _script(state: SagaState) -> Iterator[Asked | Answered]:
    """What was asked and answered so far, in the order of the log."""
    asked: set[str] = set()
    for name in state.told:
        number = _number(state, name)
        if name in asked:
            yield Answered(number, state.result_of(name))
        else:
            asked.add(name)
            yield Asked(number, name, state.declared[name]["does"])


def _number(state: SagaState, step: str) -> int:
    return list(state.declared).index(step) + 1


def _has_failed(state: SagaState) -> bool:
    return state.failing or state.status in ("COMPENSATING", "FAILED", "ROLLED_BACK")
