"""One run's function, played beside its log: what it asks for becomes commands to its saga's owner, and what the log
remembers answers it. It goes on only with what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from inspect import isawaitable
from typing import Any

from orjson import dumps, loads

from sagahook.saga.calls import is_async
from sagahook.saga.code import CodeSaga
from sagahook.saga.code_context import CodeContext
from sagahook.saga.errors import DefinitionError
from sagahook.saga.journal import ActionCall, OrderChanged, Requests, StepFailed, UndoCall, play
from sagahook.saga.replay import Answered, Asked, Replay
from sagahook_runner.adapters.attempt import NeverBegun
from sagahook_runner.domain.commands import Command, FunctionEnded, Park, RequestStep
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import Phase
from sagahook_schemas.steps import StepCompleted, StepDeclared
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept, told

_ERROR_LIMIT = 2_000

TIDYING_SECONDS = 10.0
"""How long a function that was called off may take to end, before it is ended."""

_Calls = tuple[ActionCall | None, UndoCall | None]


class Conductor:
    """It is the function's `Journal`. newest: the newest version of the saga of a name."""

    def __init__(
        self, saga: CodeSaga, state: SagaState, say: Callable[[Command], None], newest: Callable[[str], int]
    ) -> None:
        self.run = state.run
        self._function = saga.function
        self._say_on = say
        self._newest = newest
        self._state = state
        self._replay = Replay(_script(state))
        self._failure: StepFailed | None = None
        self._errors: dict[str, Exception] = {}
        self._calls: dict[str, asyncio.Future[_Calls]] = {}
        self._ended: FunctionEnded | None = None
        self._is_mute = False
        self._loop = asyncio.get_running_loop()
        self._requests = Requests(self, self._loop)
        self._end_if_called_off()
        self._task = asyncio.create_task(self._play(), name=f"function of {state.saga_id}")

    # -- what its owner tells it ----------------------------------------------------------------------------

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
        self._end_if_called_off()
        if self._ended is not None and entry.state.status == "EXECUTING" and not entry.state.open:
            self._say(self._ended)  # it ended while what it had begun was still under way

    def stop(self) -> None:
        """End the function now, without undoing anything: its process stops, or another one plays it."""
        self._is_mute = True
        self._requests.stop()
        self._task.cancel()

    def bid_farewell(self) -> None:
        """Its run has ended. One that was called off may tidy up before it ends."""
        self._is_mute = True
        if self._failure is None or self._task.done():
            self.stop()
        else:
            self._loop.call_later(TIDYING_SECONDS, self.stop)

    @property
    def may_rest(self) -> bool:
        """Whether the function only waits, so that playing it again when there is something to tell costs less."""
        state = self._state
        if any(each.standing == "running" and not each.remote for each in state.open.values()):
            return False
        return state.status != "EXECUTING" or (bool(state.open) and self._replay.is_waiting)

    def look_for_change(self) -> bool:
        """Whether the function waits for what, by its log, comes after a request that it has not made."""
        return self._replay.overdue is not None

    def give_up(self) -> None:
        """It does not make the request that its log has next."""
        changed = self._replay.overdue
        if changed is not None:
            self._park(changed)

    async def call(self, step: str, phase: Phase) -> Callable[..., Any]:
        """What an attempt of the step calls, once the function has asked for it. Raises NeverBegun where there is no
        such thing."""
        asked = self._call(step)
        either: set[asyncio.Future[Any]] = {asked, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if phase == "compensation" and asked.done():
            # What it did is undone when it has ended.
            _, late = await asyncio.wait({self._task}, timeout=TIDYING_SECONDS)
            if late:
                self._requests.stop()
                self._task.cancel()
        action, undo = asked.result() if asked.done() else (None, None)
        function: Callable[..., Any] | None = action if phase == "action" else undo
        if function is None:
            self._park(OrderChanged(_number(self._state, step), f"{phase} of {step}", "none"))
            raise NeverBegun
        return self._watched(step, function)

    # -- what the function asks for -------------------------------------------------------------------------

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
        value = self._value(definition, arguments)
        call = self._call(definition.name)
        if not call.done():
            call.set_result((action, compensation))
        if not self._replay.knows(number) and self._failure is None:
            self._say(RequestStep(self.run, number, definition, value))
        answer: JsonValue = _copy(await self._replay.answer(number, definition))
        return answer

    async def _play(self) -> None:
        state = self._state
        context = CodeContext(
            self._requests,
            saga=state.name,
            saga_id=state.saga_id,
            run=state.run,
            correlation_id=state.correlation_id,
            context=_copy(dict(state.context)),
            user_id=state.user_id,
        )
        try:
            result = await play(self._function, self._requests, context, _copy(dict(state.context)))
            self._replay.finish()
            self._end(kept(result, CONTEXT_LIMIT), None)
        except OrderChanged as changed:
            self._park(changed)
        except NotKept as unfit:
            self._end(None, f"result_{unfit}")
        except BaseException as raised:  # SystemExit, too, is the function's alone
            # Of what called it off the log knows; one that was stopped is played again.
            if not self._is_mute and self._failure is None:
                self._end(None, told(raised, _ERROR_LIMIT))

    def _end(self, result: JsonValue, error: str | None) -> None:
        self._ended = FunctionEnded(self.run, result, error)
        self._say(self._ended)

    def _park(self, changed: OrderChanged) -> None:
        self._say(Park(f"{changed}: deploy the code that it began with, then retry", cause="order"))

    def _say(self, command: Command) -> None:
        if not self._is_mute:
            self._say_on(command)

    def _call(self, step: str) -> asyncio.Future[_Calls]:
        if step not in self._calls:
            self._calls[step] = self._loop.create_future()
        return self._calls[step]

    def _watched(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """So that the function sees the error itself, where it was raised in this process."""

        async def awaited(*given: Any) -> Any:
            try:
                result = function(*given)
                return await result if isawaitable(result) else result
            except Exception as raised:
                self._errors[step] = raised
                raise

        def plain(*given: Any) -> Any:
            try:
                return function(*given)
            except Exception as raised:
                self._errors[step] = raised
                raise

        return awaited if is_async(function) else plain

    def _end_if_called_off(self) -> None:
        state = self._state
        if self._failure is None and (
            state.failing or state.status in ("COMPENSATING", "FAILED", "ROLLED_BACK")
        ):
            step = state.failed_step or ""
            self._failure = StepFailed(step, state.error or "")
            self._failure.__cause__ = self._errors.get(step)
            self._replay.end(self._failure)

    def _value(self, definition: StepDefinition, arguments: JsonValue) -> JsonValue:
        try:
            value = kept(arguments, CONTEXT_LIMIT)
        except NotKept as unfit:
            raise DefinitionError(f"the step {definition.name!r}: what it is given is {unfit}") from None
        if definition.does == "child" and isinstance(value, dict) and value.get("version") is None:
            return {**value, "version": self._newest(str(value["name"]))}
        return value


def _script(state: SagaState) -> Iterator[Asked | Answered]:
    """What was asked and answered so far, in the order of the log."""
    numbers = {name: number for number, name in enumerate(state.declared, start=1)}
    asked: set[str] = set()
    for name in state.told:
        if name in asked:
            yield Answered(numbers[name], state.result_of(name))
        else:
            asked.add(name)
            yield Asked(numbers[name], name, state.declared[name]["does"])


def _number(state: SagaState, step: str) -> int:
    return list(state.declared).index(step) + 1 if step in state.declared else 0


def _copy(value: Any) -> Any:
    """What the function does to it is not done to the saga."""
    return loads(dumps(value)) if isinstance(value, dict | list) else value
