"""`Saga` classes: triggers, steps in their order, and what undoes them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sagahook.saga.collect import Bound, collect
from sagahook.saga.declared import Code as Action
from sagahook.saga.declared import Duration
from sagahook.saga.marks import KeyFunction, Wanted, compensate, foreach, step, trigger
from sagahook.saga.problems import refuse
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import SagaDefinition

if TYPE_CHECKING:
    from sagahook.saga.app import SagaApp

__all__ = ["Action", "Handler", "Saga", "compensate", "foreach", "step", "trigger"]

Handler = Callable[[Any], Awaitable[dict[str, JsonValue] | None] | dict[str, JsonValue] | None]


class Saga:
    """Steps that are carried through or undone.

    name: by default the class's name in snake_case; version: raise it when the steps change. deadline: for
    the whole run, seconds or a timedelta. attributes: what runs are searched by, each name with a dotted path
    into the context. compensation: "sequential" (by default) undoes the steps of one level one after the
    other, "parallel" at once. One instance serves every saga of a process, so it keeps nothing about any of
    them.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    deadline: ClassVar[Duration | None] = None
    attributes: ClassVar[Mapping[str, str]] = {}
    compensation_order: ClassVar[Literal["sequential", "parallel"]] = "sequential"
    """What a class says with `compensation = …`, which stays the name of the method below."""

    definition: ClassVar[SagaDefinition]
    actions: ClassVar[Mapping[str, Bound]]
    """From a step's name to what does it: a method's name, or code that is bound when it is asked for."""
    compensations: ClassVar[Mapping[str, Bound]]
    preparations: ClassVar[Mapping[str, Bound]]
    handlers: ClassVar[tuple[str, ...]]
    """The methods that map an event to the context, in the order of the definition's triggers."""
    conditions: ClassVar[tuple[Wanted | None, ...]]
    """Of each trigger whether an event is wanted."""
    keys: ClassVar[tuple[KeyFunction | None, ...]]
    """Of each trigger that is `keyed_by_code` what makes the identity of an event's saga."""

    app: SagaApp | None = None
    """Where it is deployed, and so are its children."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        _take_order(cls)
        parts, cls.definition = collect(cls, _TAKEN)
        cls.actions, cls.compensations, cls.preparations = (
            parts.actions,
            parts.compensations,
            parts.preparations,
        )
        cls.handlers = tuple(method for method, _ in parts.triggers)
        cls.conditions = tuple(mark.when for _, mark in parts.triggers)
        cls.keys = tuple(mark.key for _, mark in parts.triggers)
        if parts.problems:
            refuse(*parts.problems)

    def handler(self, index: int) -> Handler:
        """The handler of the definition's trigger with that index."""
        bound: Handler = getattr(self, self.handlers[index])
        return bound

    def action(self, step: str) -> Action:
        """What does the step: `(ctx)`."""
        return self._bound(self.actions[step])

    def _compensation(self, step: str) -> Action:
        """What undoes the step: `(ctx, result)`."""
        return self._bound(self.compensations[step])

    compensation: ClassVar[Any] = _compensation
    """A class may say `compensation = "parallel"`: its word is taken before the engine calls this."""

    def preparation(self, step: str) -> Action:
        """What a step whose definition has `prepares` is asked first: `(ctx)` → `{"skip": reason}` or
        `{"value": JSON}`."""
        return self._bound(self.preparations[step])

    def _bound(self, code: Bound) -> Action:
        bound: Action = getattr(self, code) if isinstance(code, str) else MethodType(code, self)
        return bound


_TAKEN = frozenset(Saga.__annotations__) | frozenset(vars(Saga)) - frozenset(vars(object))
"""What the engine calls or reads on a saga."""


def _take_order(cls: type[Saga]) -> None:
    said = cls.__dict__.get("compensation")
    if said is not None and not callable(said):
        cls.compensation_order = said
        del cls.compensation  # and with it the base class's method is there again
