"""`Saga` classes: triggers, ordered steps and their compensations."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

from pydantic import ValidationError

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
Checked = TypeVar("Checked")
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
    into the body; webhooks with the same value there share one saga. Raises DefinitionError.
    """
    if idempotency_key is not None and not all(idempotency_key.split(".")):
        raise DefinitionError(
            f"the trigger of {source!r}: idempotency_key must be a dotted path into the body, such as order.id, "
            f"not {idempotency_key!r}"
        )
    return _mark(
        _checked(
            f"the trigger of {source!r}",
            lambda: TriggerDefinition(source=source, event=event, idempotency_key=idempotency_key),
        )
    )


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
    died): undoing what was never done must succeed. Raises DefinitionError.
    """
    if not isinstance(step, str):
        raise DefinitionError('a compensation must say which step it undoes: @compensate("charge")')
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
        if type(cls.version) is not int or cls.version < 1:
            raise DefinitionError(
                f"{cls.__name__}: the version must be a whole number from 1, not {cls.version!r}"
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


_TAKEN = frozenset(Saga.__annotations__) | frozenset(vars(Saga)) - frozenset(vars(object))
"""What the engine calls or reads on a saga."""


def _mark(mark: TriggerDefinition | _Step | _Compensation) -> Callable[[Function], Function]:
    def remember(function: Function) -> Function:
        function.__dict__.setdefault(_MARK, []).append(mark)
        return function

    return remember


def _marks(cls: type[Saga]) -> Iterator[tuple[str, TriggerDefinition | _Step | _Compensation]]:
    """Every mark with its method's name, base classes first, in the order written. Raises DefinitionError."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for method, member in base.__dict__.items():
            if _marks_of(members.get(method)) and callable(member) and not _marks_of(member):
                raise DefinitionError(
                    f"{cls.__name__}.{method} replaces a marked method of its base class without a mark of its "
                    f"own: write @step, @compensate or @trigger above it, or {method} = None to leave it out"
                )
            members[method] = member
    for method, member in members.items():
        for mark in _marks_of(member):
            if method in _TAKEN:
                raise DefinitionError(
                    f"{cls.__name__}.{method}: the name {method!r} is used by the engine: rename the method, and "
                    f"where it is a step keep its name with @step({method!r})"
                )
            yield method, mark


def _marks_of(member: Any) -> Sequence[TriggerDefinition | _Step | _Compensation]:
    marks: Sequence[TriggerDefinition | _Step | _Compensation] = getattr(member, "__dict__", {}).get(
        _MARK, ()
    )
    return marks


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
                _check_step(cls, name, name in steps)
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
        steps=tuple(_step_definition(cls, name, mark, undoing.get(name)) for name, mark in steps.items()),
    )


def _step_definition(
    cls: type[Saga], name: str, mark: _Step, undoing: _Compensation | None
) -> StepDefinition:
    compensation = undoing and _checked(
        f"{cls.__name__}: the compensation of the step {name!r}",
        lambda: CompensationDefinition(timeout=undoing.timeout, retry=undoing.retry),
    )
    return _checked(
        f"{cls.__name__}: the step {name!r}",
        lambda: StepDefinition(name=name, timeout=mark.timeout, retry=mark.retry, compensation=compensation),
    )


def _checked(what: str, make: Callable[[], Checked]) -> Checked:
    """What was made; or DefinitionError, in the words of the first thing that is wrong with it."""
    try:
        return make()
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DefinitionError(f"{what}: {where}: {first['msg']}, not {first['input']!r}") from None


def _check_step(cls: type[Saga], name: str, taken: bool) -> None:
    if not _NAME.match(name):
        raise DefinitionError(
            f"{cls.__name__}: the step name {name!r} must be lower-case letters, digits and _, begin with a "
            "letter and have at most 64 characters"
        )
    if taken:
        raise DefinitionError(f"{cls.__name__}: two steps are named {name!r}")
