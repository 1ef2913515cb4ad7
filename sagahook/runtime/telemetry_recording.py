"""Our spans while they are under way.

The SDK's own do more for each of them (locks, limits, checks of every value, a sampler that asks the parent again),
which was the other half of what tracing cost. To everybody else these are OpenTelemetry's spans all the same: a user's
action finds its attempt as the current one, and may add to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes, AttributeValue

_FORM = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
LENGTH = 55
"""Of a traceparent."""
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_UNSET = Status(StatusCode.UNSET)
NOWHERE = Context()
"""For what has no parent, whatever is current."""


def is_valid(traceparent: str) -> bool:
    return (
        len(traceparent) == LENGTH
        and _FORM.fullmatch(traceparent) is not None
        and traceparent[3:35] != _NO_TRACE
        and traceparent[36:52] != _NO_SPAN
    )


def read(traceparent: str, *, is_remote: bool = True) -> SpanContext | None:
    """None for what is none."""
    if not is_valid(traceparent):
        return None
    flags = TraceFlags(int(traceparent[53:], 16))
    return SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote, flags)


def written(told: SpanContext) -> str:
    return f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"


@dataclass(frozen=True, slots=True)
class Origin:
    """What all spans of a process have in common, and where they go when they end."""

    resource: Resource
    scope: InstrumentationScope
    processor: SpanProcessor


class Current:
    """Makes the span of a context the current one, and nothing else."""

    __slots__ = ("_context", "_token")

    def __init__(self, of: Context) -> None:
        self._context = of

    def __enter__(self) -> None:
        self._token = context.attach(self._context)

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


class Recording(trace.Span, ReadableSpan):
    """As `telemetry.Span`, and as OpenTelemetry's.

    What can wait is not made while it is under way, but when it is exported, for many of them at once. parent: its
    traceparent; "" where there is none.
    """

    is_ours = True
    """Whether nothing was added but what we add."""
    _status = _UNSET
    _events: Sequence[Event] = ()
    _links: Sequence[Link] = ()
    _end_time = None
    _instrumentation_info = None

    def __init__(
        self,
        origin: Origin,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        parent: str,
        traceparent: str,
        began_ns: int | None = None,
    ) -> None:
        self._origin = origin
        self._name = name
        self._kind = kind
        self._attributes: Mapping[str, Any] = dict(attributes)
        self._start_time = time.time_ns() if began_ns is None else began_ns
        self._linked: list[str] = []
        self.under = parent
        self.traceparent = traceparent

    def add(self, attributes: Mapping[str, str | int | float | bool]) -> None:
        self._attributes = {**self._attributes, **attributes}

    def link(self, traceparent: str) -> None:
        if is_valid(traceparent):
            self._linked.append(traceparent)

    def fail(self, kind: str) -> None:
        self.add({"error.type": kind})
        self._status = Status(StatusCode.ERROR)

    def current(self) -> Current:
        return Current(trace.set_span_in_context(self, NOWHERE))

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is not None:
            return
        self._end_time = end_time or time.time_ns()
        if not self.is_ours:
            self._attributes = BoundedAttributes(attributes=self._attributes)
        self._origin.processor.on_end(self)

    # -- what is read of it when it has ended -----------------------------------------------------------------

    @property
    def linked(self) -> Sequence[str]:
        """The traceparents of what it has links to."""
        return self._linked

    @property
    def context(self) -> SpanContext:
        return self.get_span_context()

    @property
    def parent(self) -> SpanContext | None:
        return read(self.under)

    @property
    def links(self) -> Sequence[Link]:
        return [*(Link(found) for each in self._linked if (found := read(each))), *self._links]

    @property
    def resource(self) -> Resource:
        return self._origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        return self._origin.scope

    # -- what others may do with it -------------------------------------------------------------------------

    def get_span_context(self) -> SpanContext:
        return read(self.traceparent, is_remote=False) or trace.INVALID_SPAN_CONTEXT

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self._is_theirs():
            self._attributes = {**self._attributes, **attributes}

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if self._is_theirs():
            self._events = [*self._events, Event(name, attributes, timestamp)]

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if self._is_theirs():
            self._links = [*self._links, Link(context, attributes)]

    def update_name(self, name: str) -> None:
        if self.is_recording():
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._is_theirs():
            self._status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Its class alone: its text may hold what the action was given."""
        kind = f"{type(exception).__module__}.{type(exception).__qualname__}"
        self.add_event("exception", {"exception.type": kind, **(attributes or {})}, timestamp)

    def _is_theirs(self) -> bool:
        """From now on, unless it has ended, and takes nothing more."""
        if self._end_time is None:
            self.is_ours = False
        return self._end_time is None
