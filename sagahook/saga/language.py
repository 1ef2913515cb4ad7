"""`Saga` classes: triggers, ordered steps and their compensations."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

from sagahook.saga.errors import DefinitionError
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import (
    CompensationDefinition,
    Retry,
    SagaDefinition,
    StepDefinition,
    TriggerDefinition,
)

DEFAULT_TIMEOUT = 30.0
"""Seconds an attempt may take where the step says nothing."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_MARK = "__sagahook__"

Function = TypeVar("Function", bound=Callable[..., Any])
Action = Callable[..., Awaitable[JsonValue] | JsonValue]
Handler = Callable[[Any], Awaitable[dict[str, JsonValue] | None] | dict[str, JsonValue] | None]


@dataclass(frozen=True, slots=True)
class _Step:
    name: str | None
    timeout: float
    retry: Retry


@dataclass(frozen=True, slots=True)
class _Compensation:
    step: str
    timeout: float
    retry: Retry


def trigger(
    *, source: str, event: str | None = None, idempotency_key: str | None = None
) -> Callable[[Function], Function]:
    """The method maps a webhook's body to the saga's context (a dict), or to None for "not for me".

    source: the name in `/webhooks/{source}`. event: only webhooks of this type. idempotency_key: a dotted path
    into the body; webhooks with the same value there share one saga.
    """
    return _mark(TriggerDefinition(source=source, event=event, idempotency_key=idempotency_key))


@overload
def step(name: Function, /) -> Function: ...
@overload
def step(
    name: str | None = None, /, *, timeout: float = DEFAULT_TIMEOUT, retry: Retry | None = None
) -> Callable[[Function], Function]: ...
def step(
    name: str | Function | None = None, /, *, timeout: float = DEFAULT_TIMEOUT, retry: Retry | None = None
) -> Function | Callable[[Function], Function]:
    """The method is a step's action: `(self, ctx) -> JSON`, async or not. Steps run in the order written.

    name: the method's own name by default. timeout: seconds for each attempt.
    """
    if callable(name):
        return _mark(_Step(None, timeout, Retry()))(name)
    return _mark(_Step(name, timeout, retry or Retry()))


def compensate(
    step: str, /, *, timeout: float = DEFAULT_TIMEOUT, retry: Retry | None = None
) -> Callable[[Function], Function]:
    """The method undoes the named step: `(self, ctx, result) -> JSON`.

    `result` is the action's, or None where the action's outcome is unknown (it timed out, or its process
    died): undoing what was never done must succeed.
    """
    return _mark(_Compensation(step, timeout, retry or Retry()))


class Saga:
    """A sequence of steps that is carried through or undone.

    name: by default the class's name in snake_case; version: raise it when the steps change.
    One instance serves every saga of a process, so it keeps nothing about any of them.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    definition: ClassVar[SagaDefinition]
    actions: ClassVar[Mapping[str, str]]
    """From a step's name to the name of the method that does it."""
    compensations: ClassVar[Mapping[str, str]]
    handlers: ClassVar[tuple[str, ...]]
    """The methods that map an event to the context, in the order of the definition's triggers."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        if not _NAME.match(cls.name):
            raise DefinitionError(
                f"{cls.__name__}: the saga name {cls.name!r} must be lower-case letters, digits and _, "
                "begin with a letter and have at most 64 characters"
            )
        _collect(cls)

    def handler(self, index: int) -> Handler:
        """The handler of the definition's trigger with that index."""
        bound: Handler = getattr(self, self.handlers[index])
        return bound

    def action(self, step: str) -> Action:
        bound: Action = getattr(self, self.actions[step])
        return bound

    def compensation(self, step: str) -> Action:
        bound: Action = getattr(self, self.compensations[step])
        return bound


def _mark(mark: TriggerDefinition | _Step | _Compensation) -> Callable[[Function], Function]:
    def remember(function: Function) -> Function:
        function.__dict__.setdefault(_MARK, []).append(mark)
        return function

    return remember


def _marks(cls: type[Saga]) -> Iterator[tuple[str, TriggerDefinition | _Step | _Compensation]]:
    """Every mark with its method's name, base classes first, in the order written."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members |= base.__dict__
    for method, member in members.items():
        for mark in getattr(member, "__dict__", {}).get(_MARK, ()):
            yield method, mark


def _collect(cls: type[Saga]) -> None:
    """Make the definition of a new saga class. Raises DefinitionError."""
    triggers: list[TriggerDefinition] = []
    handlers: list[str] = []
    steps: dict[str, _Step] = {}
    actions: dict[str, str] = {}
    undoing: dict[str, _Compensation] = {}
    compensations: dict[str, str] = {}
    for method, mark in _marks(cls):
        match mark:
            case TriggerDefinition():
                triggers.append(mark)
                handlers.append(method)
            case _Step():
                name = mark.name or method
                _check_step(cls, name, mark.timeout, name in steps)
                steps[name], actions[name] = mark, method
            case _Compensation():
                if mark.step in undoing:
                    raise DefinitionError(f"{cls.__name__}: the step {mark.step!r} has two compensations")
                undoing[mark.step], compensations[mark.step] = mark, method
    for orphan in undoing.keys() - steps.keys():
        raise DefinitionError(
            f"{cls.__name__}.{compensations[orphan]} compensates the step {orphan!r}, which does not exist; "
            f"the steps are: {', '.join(steps) or 'none'}"
        )
    cls.actions, cls.compensations, cls.handlers = actions, compensations, tuple(handlers)
    cls.definition = SagaDefinition(
        name=cls.name,
        version=cls.version,
        triggers=tuple(triggers),
        steps=tuple(
            StepDefinition(
                name=name,
                timeout=mark.timeout,
                retry=mark.retry,
                compensation=CompensationDefinition(timeout=undoing[name].timeout, retry=undoing[name].retry)
                if name in undoing
                else None,
            )
            for name, mark in steps.items()
        ),
    )


def _check_step(cls: type[Saga], name: str, timeout: float, taken: bool) -> None:
    if not _NAME.match(name):
        raise DefinitionError(
            f"{cls.__name__}: the step name {name!r} must be lower-case letters, digits and _, begin with a "
            "letter and have at most 64 characters"
        )
    if taken:
        raise DefinitionError(f"{cls.__name__}: two steps are named {name!r}")
    if timeout <= 0:
        raise DefinitionError(f"{cls.__name__}: the time-out of the step {name!r} must be above 0 seconds")
