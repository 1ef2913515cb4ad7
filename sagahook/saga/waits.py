"""Steps that wait: for a time, for somebody's word, for another saga. They are written as class attributes:

cool_off = sleep(seconds=3600)
approval = await_signal("approved", timeout=timedelta(days=3))
shipping = child("shipment", context=lambda ctx: {"order": ctx.context["order_id"]})
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sagahook.saga.declared import Code, DeclaredStep, Duration, When, converted, is_async, plain, seconds
from sagahook.saga.errors import PermanentError
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Retry

if TYPE_CHECKING:
    from sagahook.saga.language import Saga

Until = Callable[[Any], Awaitable[datetime | Duration] | datetime | Duration]
"""`(ctx)` → when, or in how long; async or not."""

ChildContext = Callable[[Any], Awaitable[Mapping[str, JsonValue]] | Mapping[str, JsonValue]]
"""`(ctx)` → the child's context; async or not."""

LONGEST_SLEEP = 10 * 365 * 86_400.0

_SIGNAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class SleepStep(DeclaredStep):
    """See `sleep`."""

    does = "sleep"

    def __init__(self, length: Duration | None, until: Until | None, **options: Any) -> None:
        super().__init__(**options)
        self._length = seconds(length)
        self._until = until

    def details(self) -> dict[str, Any]:
        return {"seconds": self._length}

    def value(self) -> Code | None:
        return converted(self._until, _moment) if callable(self._until) else None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.name is not None and not isinstance(self.name, str):
            yield f"say how long with seconds=: sleep(seconds={self.name!r})"
        elif (self._length is None) == (self._until is None):
            yield "say how long to sleep: either seconds=, or until= with a function of the step's context"
        if self._until is not None and not callable(self._until):
            yield f"until must be a function of the step's context, such as lambda ctx: ..., not {self._until!r}"


class SignalStep(DeclaredStep):
    """See `await_signal`."""

    does = "signal"

    def __init__(self, signal: str, patience: Duration | None, on_timeout: str, **options: Any) -> None:
        super().__init__(**options)
        self._signal = signal
        self._patience = seconds(patience)
        self._on_timeout = on_timeout

    def details(self) -> dict[str, Any]:
        return {"signal": self._signal, "patience": self._patience, "on_timeout": self._on_timeout}

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not isinstance(self._signal, str) or not _SIGNAL.match(self._signal):
            yield (
                f"the signal {self._signal!r} must be letters, digits, _, . and -, begin with a letter or a digit and "
                "have at most 128 characters"
            )


class ChildStep(DeclaredStep):
    """See `child`."""

    does = "child"

    def __init__(self, saga: type[Saga] | str, context: ChildContext | None, **options: Any) -> None:
        super().__init__(**options)
        self._named = saga
        self._context = context

    @property
    def child(self) -> object:
        """The saga's name."""
        return self._named if isinstance(self._named, str) else getattr(self._named, "name", None)

    def details(self) -> dict[str, Any]:
        return {"child": self.child}

    def value(self) -> Code | None:
        """The context is the author's to give; which version is run depends on what is deployed beside the
        saga."""
        ask = self._context
        if ask is None:
            return lambda saga, ctx: self._start(saga, ctx.context)
        if is_async(ask):

            async def start(saga: Saga, ctx: Any) -> JsonValue:
                return self._start(saga, await ask(ctx))  # type: ignore[misc]  # it is async

            return start
        return lambda saga, ctx: self._start(saga, plain(ask(ctx)))

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not isinstance(self.child, str) or not self.child:
            yield f"child needs a saga class, or the name of a saga, not {self._named!r}"
        if self._context is not None and not callable(self._context):
            yield (
                "context must be a function of the step's context that gives the child's, such as lambda ctx: {...}, "
                f"not {self._context!r}"
            )

    def _start(self, saga: Saga, context: object) -> JsonValue:
        if not isinstance(context, Mapping):
            raise PermanentError(f"the context of a child must be a dict, not {type(context).__name__}")
        return {"name": str(self.child), "version": self._version(saga), "context": dict(context)}

    def _version(self, saga: Saga) -> int:
        found = saga.app.newest_of(str(self.child)) if saga.app is not None else None
        if found is not None:
            return found.version
        if isinstance(self._named, str):
            raise PermanentError(
                f"no saga {self._named!r} is deployed beside {saga.name!r}, whose child it is"
            )
        return self._named.version


def sleep(
    name: str | None = None,
    /,
    *,
    seconds: Duration | None = None,
    until: Until | None = None,
    after: Sequence[str] | None = None,
    when: When | None = None,
    retry: Retry | None = None,
    pivot: bool = False,
) -> DeclaredStep:
    """A step that waits, over any restart. name: the attribute's by default.

    until: a function of the step's context, async or not, that is asked once: it gives a datetime with a time
    zone, or how long from now, as seconds or a timedelta. What is past is over at once. At most ten years.
    """
    return SleepStep(seconds, until, name=name, after=after, when=when, retry=retry, pivot=pivot)


def await_signal(
    signal: str,
    /,
    *,
    timeout: Duration | None = None,
    on_timeout: Literal["fail", "continue"] = "fail",
    name: str | None = None,
    after: Sequence[str] | None = None,
    when: When | None = None,
    retry: Retry | None = None,
    pivot: bool = False,
) -> DeclaredStep:
    """A step that waits until the saga is told the signal; its result is what came with it.

    A signal that came before is not lost. timeout: how long to wait, None is for ever; then the step fails,
    or with `on_timeout="continue"` it is done with the result None.
    """
    options = {"name": name, "after": after, "when": when, "retry": retry, "pivot": pivot}
    return SignalStep(signal, timeout, on_timeout, **options)


def child(
    saga: type[Saga] | str,
    /,
    *,
    context: ChildContext | None = None,
    name: str | None = None,
    after: Sequence[str] | None = None,
    when: When | None = None,
    retry: Retry | None = None,
    pivot: bool = False,
) -> DeclaredStep:
    """A step that runs another saga of the app: a class, or a name; of its versions the newest. It is done
    when that is completed, fails when it was rolled back, and is undone by the other saga's own compensations.

    context: a function of the step's context, async or not; by default the child gets its parent's context.
    """
    options = {"name": name, "after": after, "when": when, "retry": retry, "pivot": pivot}
    return ChildStep(saga, context, **options)


def _moment(until: object) -> JsonValue:
    """Seconds from now, or an RFC 3339 text. Raises PermanentError."""
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise PermanentError(f"until must give a datetime with a time zone, not {until.isoformat()}")
        return until.astimezone(UTC).isoformat()
    length = until.total_seconds() if isinstance(until, timedelta) else until
    if isinstance(length, bool) or not isinstance(length, int | float) or math.isnan(length):
        raise PermanentError(f"until must give a datetime, a timedelta or seconds, not {until!r}")
    if length > LONGEST_SLEEP:
        raise PermanentError(f"a sleep takes at most ten years, not {until!r}")
    return max(0.0, float(length))
