"""What every kind of step is made from.

A step that is written as a class attribute (`approval = await_signal("approved")`), and a method under
`@step` too, is a DeclaredStep: data for the definition, and the code that the engine calls. A new kind
derives from it:

    class HttpStep(DeclaredStep):
        def __init__(self, url: str, **options: Unpack[StepOptions]) -> None: ...
        def action(self) -> Code: return self._call          # async def _call(self, saga, ctx)

A kind whose code has to say something beforehand, such as what to send, also gives `value()`. Nothing here
raises for what an author wrote: what is wrong is a line of `problems()`, so that all of it is told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import timedelta
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Any, ClassVar, TypedDict

from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import TIMEOUTS, Does, Kind, Retry, StepDefinition

Duration = float | timedelta
"""Seconds, or a timedelta."""

Code = Callable[..., Awaitable[Any] | Any]
"""What the engine calls, bound to nothing: `(saga, ctx)`, a compensation `(saga, ctx, result)`. Async or not;
what is not runs in a thread."""

When = Callable[[Any], Awaitable[object] | object]
"""A condition: `(ctx)`, async or not; what it returns counts as true or false."""

SKIPPED = "its condition said that it is not wanted"


class StepOptions(TypedDict, total=False):
    """What can be said of every kind of step.

    name: the attribute's or method's own name by default. after: the names of the steps that must be done
    before it; by default the one written before, and `[]` is none. retry: what becomes of a failed attempt.
    timeout: of each attempt; by default what `TIMEOUTS` says for the kind. heartbeat: an attempt that calls
    `ctx.heartbeat()` no more for so long is given up. deadline: from the first attempt's start to the last
    one's end. when: whether the step is wanted at all; asked once. pivot: past it nothing is compensated.
    kind: what it mostly does.
    """

    name: str | None
    after: Sequence[str] | None
    retry: Retry | None
    timeout: Duration | None
    heartbeat: Duration | None
    deadline: Duration | None
    when: When | None
    pivot: bool
    kind: Kind


class DeclaredStep:
    """One step, for one or more names. See StepOptions."""

    does: ClassVar[Does] = "action"

    def __init__(
        self,
        *,
        name: str | None = None,
        after: Sequence[str] | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        deadline: Duration | None = None,
        when: When | None = None,
        pivot: bool = False,
        kind: Kind = "network",
    ) -> None:
        self.name = name
        self.after = after
        self.retry = retry or Retry()
        self.timeout = TIMEOUTS.get(kind, TIMEOUTS["network"]) if timeout is None else seconds(timeout)
        self.heartbeat = seconds(heartbeat)
        self.deadline = seconds(deadline)
        self.when = when
        self.pivot = pivot
        self.kind = kind

    # -- what a kind of step may say of itself ----------------------------------------------------------------

    def details(self) -> dict[str, Any]:
        """The fields of StepDefinition that only this kind has."""
        return {}

    def action(self) -> Code | None:
        """What does it: `(saga, ctx)`. None where the engine, or another system, does."""
        return None

    def compensation(self) -> Code | None:
        """What undoes it, where that is known without a @compensate: `(saga, ctx, result)`. `details()` then
        has the CompensationDefinition."""
        return None

    def value(self) -> Code | None:
        """What has to be known before: `(saga, ctx)` → JSON (how long, which items, what to send)."""
        return None

    def problems(self) -> Iterator[str]:
        """What the author has to mend."""
        if isinstance(self.after, str):
            yield f"after must be a list of step names: after=[{self.after!r}]"
        elif self.after is not None and not (
            isinstance(self.after, Collection) and all(isinstance(one, str) for one in self.after)
        ):
            yield f"after must be a list of step names, not {self.after!r}"
        if self.when is not None and not callable(self.when):
            yield f"when must be a function of the step's context, such as lambda ctx: ..., not {self.when!r}"

    # -- what is made of it -----------------------------------------------------------------------------------

    def definition(self, name: str) -> StepDefinition:
        """The step as data, without the compensation that a @compensate adds. Raises pydantic's
        ValidationError."""
        return StepDefinition(
            **{
                "name": name,
                "timeout": self.timeout,
                "retry": self.retry,
                "kind": self.kind,
                "does": self.does,
                "after": None if self.after is None else tuple(dict.fromkeys(self.after)),
                "prepares": self.preparation() is not None,
                "pivot": self.pivot,
                "heartbeat": self.heartbeat,
                "deadline": self.deadline,
                **self.details(),
            }
        )

    def preparation(self) -> Code | None:
        """What the engine runs first, and logs the answer of: `(saga, ctx)` → `{"skip": reason}` or
        `{"value": JSON}`. None where nothing has to be asked."""
        value = self.value()
        return None if self.when is None and value is None else _prepare(self.when, value)


def seconds(duration: Any) -> Any:
    """A timedelta as seconds; anything else as it is, for the contract to judge."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine: an `async def`, a partial of one, an object whose `__call__` is
    one."""
    call = getattr(function, "__call__", None)  # noqa: B004  # its kind is asked, not whether there is one
    return iscoroutinefunction(function) or iscoroutinefunction(call)


def plain(answer: object) -> Any:
    """The answer of a function that is not async. Raises TypeError for one that would have to be awaited: as
    a truth it would be always true, and as a value it is none."""
    if isawaitable(answer):
        if iscoroutine(answer):
            answer.close()
        raise TypeError("a function that is not async returned an awaitable: define it with async def")
    return answer


def converted(function: Callable[[Any], Any], convert: Callable[[Any], JsonValue]) -> Code:
    """An author's function of the context as a `value()`, with its answer converted; async where the function
    is."""
    if is_async(function):

        async def ask(saga: object, ctx: object) -> JsonValue:
            return convert(await function(ctx))

        return ask
    return lambda saga, ctx: convert(plain(function(ctx)))


def _prepare(when: When | None, value: Code | None) -> Code:
    """Both questions as one: async where one of them is, so that what is not async never holds up the loop."""
    if is_async(when) or is_async(value):

        async def ask(saga: object, ctx: object) -> dict[str, JsonValue]:
            if when is not None and not await _called(when, ctx):
                return {"skip": SKIPPED}
            return {"value": None if value is None else await _called(value, saga, ctx)}

        return ask

    def ask_plainly(saga: object, ctx: object) -> dict[str, JsonValue]:
        if when is not None and not plain(when(ctx)):
            return {"skip": SKIPPED}
        return {"value": None if value is None else plain(value(saga, ctx))}

    return ask_plainly


async def _called(function: Code, *arguments: object) -> Any:
    if is_async(function):
        return await function(*arguments)
    return plain(await asyncio.to_thread(function, *arguments))
