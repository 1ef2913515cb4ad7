"""The decorators of a saga class. Each leaves a mark on its method; `collect` reads them when the class is
made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from sagahook.saga.declared import DeclaredStep, Duration, When, is_async, seconds
from sagahook.saga.each import Each, EachStep, Items
from sagahook.saga.problems import checked, path_problem, refuse
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Kind, RateLimit, Retry, TriggerDefinition

MARK = "__sagahook__"

Function = TypeVar("Function", bound=Callable[..., Any])
Marked = TypeVar("Marked")
Wanted = Callable[[Any], object]
KeyFunction = Callable[[Any], JsonValue]

_RATE = re.compile(r"\s*(\d+)\s*/\s*(s|sec|second|min|minute|h|hour|d|day)\s*\Z")
_PERIODS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86_400,
    "day": 86_400,
}


@dataclass(frozen=True, slots=True)
class TriggerMark:
    """when: whether the event is wanted. key: makes the identity, where no path does."""

    definition: TriggerDefinition
    when: Wanted | None
    key: KeyFunction | None


@dataclass(frozen=True, slots=True)
class CompensationMark:
    """timeout None: as long as the kind of the step that it undoes may take."""

    step: str
    timeout: Any
    retry: Retry


Mark = TriggerMark | DeclaredStep | CompensationMark


def trigger(
    *,
    source: str,
    event: str | None = None,
    when: Wanted | None = None,
    idempotency_key: str | Sequence[str] | KeyFunction | None = None,
    max_concurrent: int | None = None,
    concurrency_key: str | None = None,
    rate_limit: str | RateLimit | None = None,
) -> Callable[[Function], Function]:
    """The method maps a webhook's body to the saga's context (a dict), or to None for "not for me".

    source: the name in `/webhooks/{source}`. event: only webhooks of this type. when: a function of the body,
    not async; what it says no to is not for this trigger. idempotency_key: a dotted path into the body,
    several of them, or a function of the body that gives a string or a number; webhooks with the same value
    there share one saga. max_concurrent: so many of the saga at once, over all replicas; the others wait
    their turn. rate_limit: so many starts, `"10/s"`, `"100/min"`. concurrency_key: a dotted path; each value
    there has limits of its own. Raises DefinitionError.
    """
    what = f"the trigger of {source!r}"
    problems: list[str] = []
    paths, key = _identity(idempotency_key, problems)
    rate = _rate(rate_limit, problems)
    if concurrency_key is not None:
        problems += filter(None, [path_problem("concurrency_key", concurrency_key, "the body")])
        if max_concurrent is None and rate_limit is None:
            problems.append(
                "concurrency_key says what limits are counted by: add max_concurrent or rate_limit"
            )
    problems += _plain_function("when", when)
    problems = [f"{what}: {problem}" for problem in problems]
    definition = checked(
        what,
        lambda: TriggerDefinition(
            source=source,
            event=event,
            idempotency_key=paths[0] if paths else None,
            more_keys=paths[1:],
            keyed_by_code=key is not None,
            max_concurrent=max_concurrent,
            concurrency_key=concurrency_key,
            rate_limit=rate,
        ),
        problems,
    )
    if problems or definition is None:
        refuse(*problems)
        return lambda function: function
    return _mark(TriggerMark(definition, when, key))


@overload
def step(name: Function, /) -> Function: ...
@overload
def step(
    name: str | None = None,
    /,
    *,
    after: Sequence[str] | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    deadline: Duration | None = None,
    when: When | None = None,
    pivot: bool = False,
    kind: Kind = "network",
) -> Callable[[Function], Function]: ...
def step(name: Any = None, /, **options: Any) -> Any:
    """The method is a step's action: `(self, ctx) -> JSON`, async or not. Steps run in the order written, but
    for those that say `after`; those that wait for the same, or for nothing (`after=[]`), run at once.

    name: the method's own name by default; the rest as in StepOptions. Durations are seconds or timedeltas.
    """
    if callable(name):
        return _mark(DeclaredStep())(name)
    return _mark(DeclaredStep(name=name, **options))


def foreach(*, items: Items, concurrency: int | None = None) -> Callable[[Marked], Marked]:
    """The step below is done for each item: `ctx.item`, `ctx.index`; its result is the list of theirs.

    It stands above `@step(...)`, or alone above a method, or around a declared step:
    `foreach(items=…)(http_step(…))`. items: a function of the step's context, async or not, that gives a list
    of at most 1,000; asked once. concurrency: so many at once, None is all of them. Each item has retries,
    keys and a compensation of its own.
    """
    each = Each(items, concurrency)

    def repeat(marked: Any) -> Any:
        return EachStep(marked, each) if isinstance(marked, DeclaredStep) else _mark(each)(marked)

    return repeat


def compensate(
    step: str, /, *, timeout: Duration | None = None, retry: Retry | None = None
) -> Callable[[Function], Function]:
    """The method undoes the named step: `(self, ctx, result) -> JSON`.

    `result` is the action's, or None where the action's outcome is unknown (it timed out, or its process
    died): undoing what was never done must succeed. timeout: of each attempt, by default as long as the
    step's kind allows. Raises DefinitionError.
    """
    if not isinstance(step, str):
        refuse('a compensation must say which step it undoes: @compensate("charge")')
        return lambda function: function
    return _mark(CompensationMark(step, seconds(timeout), retry or Retry()))


def marks_of(member: Any) -> Sequence[Mark]:
    """What a class attribute says to the engine; a declared step is its own mark."""
    if isinstance(member, DeclaredStep):
        return [member]
    found: Sequence[Mark | Each] = getattr(member, "__dict__", {}).get(MARK, ())
    marks = [mark for mark in found if not isinstance(mark, Each)]
    for each in (mark for mark in found if isinstance(mark, Each)):
        if not any(isinstance(mark, DeclaredStep) for mark in marks):
            marks.append(DeclaredStep())
        marks = [EachStep(mark, each) if isinstance(mark, DeclaredStep) else mark for mark in marks]
    return marks


def _mark(mark: Mark | Each) -> Callable[[Function], Function]:
    def remember(function: Function) -> Function:
        function.__dict__.setdefault(MARK, []).append(mark)
        return function

    return remember


def _identity(given: Any, problems: list[str]) -> tuple[tuple[str, ...], KeyFunction | None]:
    """The paths, or the function, that an idempotency key is made by."""
    if given is None:
        return (), None
    if callable(given):
        problems += _plain_function("idempotency_key", given)
        return (), given
    paths = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not paths:
        problems.append(
            "idempotency_key names no field: leave it out, and every webhook is a saga of its own"
        )
    problems += filter(None, (path_problem("idempotency_key", path, "the body") for path in paths))
    return paths, None


def _plain_function(option: str, given: object) -> list[str]:
    if given is None or (callable(given) and not is_async(given)):
        return []
    return [f"{option} must be a function of the webhook's body that is not async, not {given!r}"]


def _rate(given: str | RateLimit | None, problems: list[str]) -> RateLimit | None:
    if given is None or isinstance(given, RateLimit):
        return given
    found = _RATE.match(given) if isinstance(given, str) else None
    if found is None or int(found[1]) < 1:
        problems.append(
            f'rate_limit must say how many starts in what time, such as "10/s" or "100/min", not {given!r}'
        )
        return None
    return RateLimit(count=int(found[1]), per=_PERIODS[found[2]])
