"""What a code-first saga asks for, and the port to whatever remembers it.

The port is `Journal`. Its contract, which tests/journal_conformance.py holds every journal to:

- `request` is called once for each thing that the function asks for, with `number` 1, 2, 3, … in the order
  of asking. Several may be under way at once (the function awaits them together).
- What was asked for before, with the same number, is answered from memory: its action is not run again.
  Where the name or the kind (`definition.name`, `definition.does`) is another than remembered,
  `OrderChanged` is raised and nothing is run.
- Otherwise the request is remembered *before* its action runs, the action is called under the definition's
  time-out and retry policy, and its result is remembered before it is returned: a copy as JSON has it, the
  same now and after a crash.
- The action gets a StepContext. A coroutine function is awaited; a plain one runs in a thread. What either
  returns may be awaitable all the same (`lambda: charge(order)`), and is then awaited; `calls.settled` does
  so.
- A step that failed for good raises `StepFailed`, whose cause is the action's own error where this process
  saw it. From then on every request raises it: the function is to end, and what it did is undone by whoever
  plays it.
- The compensation gets the StepContext and the result (None where the outcome is unknown). A journal takes
  it anew from every replay, because a function of an earlier process is gone; it is called only after the
  function has ended.
- Answers reach the function in the order in which they were remembered, on a replay as the first time, so
  that branches that run at once ask for their next step in the same order again. `replay.Replay` does that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Protocol

from sagahook.saga.context import StepContext
from sagahook.saga.errors import DefinitionError
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import SagaDefinition, StepDefinition

ActionCall = Callable[[StepContext], Any]
"""An action with its arguments bound. What it returns may be awaitable."""

UndoCall = Callable[[StepContext, Any], Any]
"""A compensation: the context, and the action's result."""


class StepFailed(Exception):
    """A step failed for good: end the function, what it did is undone. `error` is `Type: message`."""

    def __init__(self, step: str, error: str) -> None:
        super().__init__(f"the step {step!r} failed for good: {error}")
        self.step = step
        self.error = error

    def __reduce__(self) -> tuple[type[StepFailed], tuple[str, str]]:
        return type(self), (self.step, self.error)


class OrderChanged(Exception):
    """The function asks for something else than its log remembers: an operator must deploy the code that
    fits, or migrate. Nothing is guessed."""

    def __init__(self, number: int, remembered: str, asked: str) -> None:
        super().__init__(f"request {number}: the log remembers {remembered}, the function asks for {asked}")
        self.told = (number, remembered, asked)

    def __reduce__(self) -> tuple[type[OrderChanged], tuple[int, str, str]]:
        return type(self), self.told


class Stopped(BaseException):
    """The function is to end now, without undoing anything: its process stops. It is played again later."""


class Journal(Protocol):
    """See the module's text."""

    async def request(
        self,
        number: int,
        definition: StepDefinition,
        action: ActionCall | None,
        compensation: UndoCall | None,
        arguments: JsonValue,
    ) -> JsonValue:
        """The result of the request: an action's, a signal's payload, a child's result, None of a sleep.

        action: for `definition.does == "action"` alone. arguments: what else is to be known: of a sleep its
        seconds (a number) or until when (RFC 3339), of a child `{"name", "version", "context"}` (version
        None: the newest), else None. Raises StepFailed, OrderChanged.
        """
        ...


class CodeFirst(Protocol):
    """What one has to know of a code-first saga to run it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def definition(self) -> SagaDefinition: ...
    @property
    def function(self) -> Callable[..., Any]: ...


class Requests:
    """Counts what one run of a function asks for, and passes it on from whatever thread it is asked in.

    stopped: why nothing more is answered. The function may have caught it; whoever plays it is told all the
    same.
    """

    def __init__(self, journal: Journal, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.journal = journal
        self.stopped: BaseException | None = None
        self._loop = loop
        self._number = 0
        self._names: set[str] = set()
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def count(self) -> int:
        return self._number

    def stop(self) -> None:
        """End the function: what it waits for, and whatever it asks for from now on, raises Stopped. Call
        it on the loop."""
        self.stopped = self.stopped or Stopped()
        for task in self._under_way:
            task.cancel()

    def ask(self, *request: Any) -> Any:
        """`answer` for the place that it is called in: awaitable in async code, the answer itself in plain
        code."""
        return self.come_to(self.answer(*request))

    def come_to(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Work that asks, done on the loop of whoever plays the function, from whatever thread this is."""
        running = running_loop()
        if self._loop is None or running is self._loop:
            return work
        asked = asyncio.run_coroutine_threadsafe(self._for_thread(work), self._loop)
        return asked.result() if running is None else asyncio.wrap_future(asked)

    async def answer(
        self,
        definition: StepDefinition,
        action: ActionCall | None = None,
        compensation: UndoCall | None = None,
        arguments: JsonValue = None,
    ) -> Any:
        """Raises StepFailed, OrderChanged, Stopped; DefinitionError where the name was used before."""
        if self.stopped is not None:
            raise again(self.stopped)
        if definition.name in self._names:
            raise DefinitionError(
                f"two steps are named {definition.name!r}: in one run every step needs a name of its own, "
                f"such as {definition.name}_2"
            )
        self._names.add(definition.name)
        self._number += 1
        try:
            return await self.journal.request(self._number, definition, action, compensation, arguments)
        except (StepFailed, OrderChanged) as stopped:
            self.stopped = self.stopped or stopped
            raise

    async def _for_thread(self, work: Coroutine[Any, Any, Any]) -> Any:
        """A cancelled answer would reach the thread as an error that its code may take for one of its own."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            raise self.stopped or Stopped() from None
        finally:
            self._under_way.discard(task)


def again(stopped: BaseException) -> BaseException:
    """The same exception anew: one that is raised twice mixes up its tracebacks."""
    fresh: BaseException = stopped.__reduce__()[0](*stopped.__reduce__()[1])  # type: ignore[operator]
    fresh.__cause__ = stopped.__cause__
    return fresh


current: ContextVar[Requests | None] = ContextVar("sagahook_requests", default=None)
"""The run of the code-first saga that this code is part of. Actions are not: they are what it asks for."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def play(function: Callable[..., Any], requests: Requests, *arguments: Any) -> Any:
    """Run the function once, from its beginning; its requests go to `requests`. Returns what it returns.

    Raises what stopped it (StepFailed, OrderChanged, Stopped) even where the function caught that, or its
    own error. To end it early: `requests.stop()`, then cancel the task that runs this.
    """
    mark = current.set(requests)
    try:
        if iscoroutinefunction(function):
            result = await function(*arguments)
        else:
            result = await _in_its_own_thread(function, *arguments)
            if isawaitable(result):
                result = await result
    except Exception:
        if requests.stopped is None:
            raise
    except asyncio.CancelledError:
        if not isinstance(requests.stopped, Stopped):
            raise
    finally:
        current.reset(mark)
    if requests.stopped is not None:
        raise again(requests.stopped)
    return result


async def _in_its_own_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """In none of a pool: a function waits long, and those that it waits for would find no thread left."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def tell(result: Any, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(function, *arguments)
        except BaseException as raised:  # whatever it is, it belongs to whoever waits
            error = raised if not isinstance(raised, StopIteration) else RuntimeError("StopIteration")
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=work, name="code-first saga", daemon=True).start()
    return await ended
