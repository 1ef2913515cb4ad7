"""A step that is done for each of several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sagahook.saga.declared import Code, DeclaredStep, converted
from sagahook.saga.errors import PermanentError
from sagahook_schemas.base import JsonValue

MAX_ITEMS = 1_000
"""Each is a step of its own in the saga's log; for more, start sagas of their own."""

Items = Callable[[Any], Awaitable[Iterable[JsonValue]] | Iterable[JsonValue]]
"""`(ctx)` → the items, async or not."""


@dataclass(frozen=True, slots=True)
class Each:
    """What @foreach says. concurrency: so many items at once; None: all of them."""

    items: Items
    concurrency: int | None


class EachStep(DeclaredStep):
    """The step of another kind, done for each item: `ctx.item` and `ctx.index` say for which."""

    does = "each"

    def __init__(self, one: DeclaredStep, each: Each) -> None:
        super().__init__(
            name=one.name,
            after=one.after,
            retry=one.retry,
            timeout=one.timeout,
            heartbeat=one.heartbeat,
            deadline=one.deadline,
            when=one.when,
            pivot=one.pivot,
            kind=one.kind,
        )
        self._one = one
        self._each = each

    def details(self) -> dict[str, Any]:
        return {**self._one.details(), "concurrency": self._each.concurrency}

    def action(self) -> Code | None:
        return self._one.action()

    def compensation(self) -> Code | None:
        return self._one.compensation()

    def value(self) -> Code | None:
        return converted(self._each.items, _listed) if callable(self._each.items) else None

    def problems(self) -> Iterator[str]:
        yield from self._one.problems()
        if self._one.does != "action" or self._one.value() is not None:
            yield "foreach repeats an action, once: it cannot repeat a wait, a child or a participant's step"
        if not callable(self._each.items):
            yield f"foreach: items must be a function of the step's context that gives a list, not {self._each.items!r}"


def _listed(items: object) -> JsonValue:
    """Raises PermanentError for what is no list of items: asking again would give the same."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise PermanentError(f"foreach: items must give a list, not {type(items).__name__}")
    listed = list(items)
    if len(listed) > MAX_ITEMS:
        raise PermanentError(
            f"foreach: {len(listed)} items, the limit is {MAX_ITEMS}: give batches of them as the items"
        )
    return listed
