"""Lists, page after page, as iterators of both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from sagahook.client import operations
from sagahook.client.calls import Call, Operation
from sagahook.client.core import Answered
from sagahook.client.sending import send

T = TypeVar("T")
E = TypeVar("E")
P = ParamSpec("P")


class SynchronousPages(Protocol):
    def ask(self, call: Call[T], /) -> Answered[T]: ...


class AsynchronousPages(Protocol):
    async def ask(self, call: Call[T], /) -> Answered[T]: ...


class Listing(Generic[P, T, E]):
    """A list operation, as a method that gives its entries one by one and asks for a page when it needs one.

    entries: those of a page.
    """

    def __init__(self, make: Callable[P, Call[T]], entries: Callable[[T], Sequence[E]]) -> None:
        self.make = make
        self._entries = entries
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Listing[P, T, E]: ...
    @overload
    def __get__(self, client: AsynchronousPages, owner: type) -> Callable[P, AsyncIterator[E]]: ...
    @overload
    def __get__(self, client: SynchronousPages, owner: type) -> Callable[P, Iterator[E]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        walk = _pages_awaited if owner.__dict__.get("awaited") else _pages

        @wraps(self.make)
        def listing(*args: P.args, **kwargs: P.kwargs) -> Any:
            return walk(client, self.make(*args, **kwargs), self._entries)

        return listing


def _pages(client: Any, call: Call[Any] | None, entries: Callable[[Any], Sequence[Any]]) -> Iterator[Any]:
    while call is not None:
        page: Answered[Any] = client.ask(call)
        yield from entries(page.value)
        call = _following(call, page)


async def _pages_awaited(
    client: Any, call: Call[Any] | None, entries: Callable[[Any], Sequence[Any]]
) -> AsyncIterator[Any]:
    while call is not None:
        page: Answered[Any] = await client.ask(call)
        for entry in entries(page.value):
            yield entry
        call = _following(call, page)


def _following(call: Call[T], page: Answered[T]) -> Call[T] | None:
    if page.next_cursor is None:
        return None
    return replace(call, query={**call.query, "offset": None, "cursor": page.next_cursor})


class EveryOperation(operations.Operations):
    """What both clients have."""

    send = Operation(send)
    iter_sagas = Listing(operations.list_sagas, lambda page: page.sagas)
    iter_events = Listing(operations.list_events, lambda page: page)
    iter_tasks = Listing(operations.list_tasks, lambda page: page)
    iter_dead_letters = Listing(operations.read_dead_letters, lambda page: page.letters)
    iter_audit = Listing(operations.list_audit, lambda page: page.entries)
