"""What is wrong with a saga is raised at once, or, by a check of a whole module, gathered until its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from pydantic import ValidationError

from sagahook.saga.errors import DefinitionError

Made = TypeVar("Made")

_gathered: ContextVar[list[str] | None] = ContextVar("gathered", default=None)


def refuse(*problems: str) -> None:
    """Raises DefinitionError; inside `gathering()` it returns, and the caller goes on with something
    harmless."""
    gathered = _gathered.get()
    if gathered is None:
        raise DefinitionError(*problems)
    gathered.extend(problem for problem in problems if problem not in gathered)


@contextmanager
def gathering() -> Iterator[list[str]]:
    """The list that problems go to meanwhile, in the order found."""
    problems: list[str] = []
    token = _gathered.set(problems)
    try:
        yield problems
    finally:
        _gathered.reset(token)


def checked(what: str, make: Callable[[], Made], problems: list[str]) -> Made | None:
    """What was made; else None, and everything that its contract has against it is added to the problems."""
    try:
        return make()
    except ValidationError as invalid:
        problems += [f"{what}: {line}" for line in lines_of(invalid)]
        return None


def lines_of(invalid: ValidationError) -> list[str]:
    """`timeout: Input should be greater than 0, not -1`, one for each thing that is wrong."""
    return [
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}, not {error['input']!r}"
        for error in invalid.errors(include_url=False)
    ]


def path_problem(option: str, path: object, into: str) -> str | None:
    """What is wrong with a dotted path."""
    if isinstance(path, str) and all(path.split(".")):
        return None
    return f"{option} must be a dotted path into {into}, such as order.id, not {path!r}"
