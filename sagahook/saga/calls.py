"""How the callables of a code-first saga are called: with what they have parameters for.

An action gets the arguments that were given for it, and the StepContext where it has a parameter for one:
annotated as such, or called `ctx`. A compensation gets the StepContext in the same way, and the action's
result where it has a further required parameter. So `lambda: refund(order)`, `refund(result)` and
`refund(ctx, result)` all do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, isawaitable, iscoroutinefunction, signature
from typing import Any

from sagahook.saga.context import StepContext
from sagahook.saga.errors import DefinitionError
from sagahook.saga.journal import ActionCall, UndoCall, current

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def as_action(step: str, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> ActionCall:
    """The action as a journal calls it. It is a coroutine function where the given one is.

    Raises DefinitionError at once where the function cannot be called with these arguments.
    """
    shape = _shape(step, "action", function)
    name = _context_parameter(shape)

    def fill(ctx: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if name is None:
            return arguments, {}
        if shape is not None and shape.parameters[name].kind is Parameter.KEYWORD_ONLY:
            return arguments, {name: ctx}
        return _with_context(shape, name, arguments, ctx), {}

    _check_arguments(step, shape, fill(None))
    return _outside(function, fill)


def as_undo(step: str, function: Callable[..., Any] | None) -> UndoCall | None:
    """The compensation as a journal calls it. Raises DefinitionError where it wants more than a context and
    a result."""
    if function is None:
        return None
    shape = _shape(step, "compensation", function)
    name = _context_parameter(shape)
    wanted = [
        parameter.name
        for parameter in (shape.parameters.values() if shape is not None else ())
        if parameter.name != name and parameter.default is Parameter.empty and parameter.kind in _POSITIONAL
    ]
    if shape is not None and not wanted and "result" in shape.parameters:
        wanted = ["result"]
    if len(wanted) > 1:
        raise DefinitionError(
            f"the compensation of the step {step!r} wants {', '.join(wanted)}; it is given the action's result and, "
            "where a parameter is called ctx, the StepContext: bind the rest with functools.partial or a lambda"
        )

    def fill(ctx: Any, result: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = {**({name: ctx} if name is not None else {}), **({wanted[0]: result} if wanted else {})}
        if shape is None:
            return (), {}
        by_position = tuple(
            given.pop(each.name)
            for each in shape.parameters.values()
            if each.name in given and each.kind is Parameter.POSITIONAL_ONLY
        )
        return by_position, given

    _check_arguments(step, shape, fill(None, None))
    return _outside(function, fill)


def is_async(call: Callable[..., Any]) -> bool:
    """Whether it is awaited on the loop; else it may block, and belongs in a thread."""
    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


async def settled(call: Callable[..., Any], *arguments: Any, inline: bool = False) -> Any:
    """What the call comes to, wherever it has to run. inline: plain functions in the thread of the caller."""
    if is_async(call):
        return await call(*arguments)
    result = call(*arguments) if inline else await asyncio.to_thread(call, *arguments)
    return await result if isawaitable(result) else result


def _outside(
    function: Callable[..., Any], fill: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]
) -> Callable[..., Any]:
    """What an action does itself is no request of the function: a saga that it uses inside is its own."""

    async def awaited(*given: Any) -> Any:
        positional, named = fill(*given)
        with _no_requests():
            return await function(*positional, **named)

    def plain(*given: Any) -> Any:
        positional, named = fill(*given)
        with _no_requests():
            result = function(*positional, **named)
        return _await_outside(result) if isawaitable(result) else result

    return awaited if is_async(function) else plain


async def _await_outside(result: Awaitable[Any]) -> Any:
    with _no_requests():
        return await result


@contextmanager
def _no_requests() -> Iterator[None]:
    mark = current.set(None)
    try:
        yield
    finally:
        current.reset(mark)


def _shape(step: str, what: str, function: Callable[..., Any]) -> Signature | None:
    if not callable(function):
        raise DefinitionError(f"the {what} of the step {step!r} must be something to call, not {function!r}")
    try:
        return signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return None


def _context_parameter(shape: Signature | None) -> str | None:
    """The name of the parameter for the StepContext. An annotation may be text, and then need not be
    importable."""
    for parameter in shape.parameters.values() if shape is not None else ():
        annotated = parameter.annotation is StepContext or (
            isinstance(parameter.annotation, str)
            and parameter.annotation.strip("\"'").split(".")[-1] == "StepContext"
        )
        named = parameter.name == "ctx" and parameter.annotation is Parameter.empty
        if (annotated or named) and parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            return parameter.name
    return None


def _with_context(
    shape: Signature | None, name: str, arguments: tuple[Any, ...], ctx: Any
) -> tuple[Any, ...]:
    """The arguments with the context among them, where its parameter stands."""
    at = list(shape.parameters).index(name) if shape is not None else 0
    return (*arguments[:at], ctx, *arguments[at:])


def _check_arguments(
    step: str, shape: Signature | None, given: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    if shape is None:
        return
    try:
        shape.bind(*given[0], **given[1])
    except TypeError as wrong:
        raise DefinitionError(
            f"what the step {step!r} calls does not fit what it is given: {wrong}; give its arguments after it, "
            "or bind them with functools.partial or a lambda; a parameter called ctx is given the StepContext"
        ) from None
