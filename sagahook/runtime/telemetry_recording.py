"""Our spans while they are under way.

The SDK's own do more for each of them (locks, limits, checks of every value, a sampler that asks the parent again),
which was the other half of what tracing cost. To everybody else these are OpenTelemetry's spans all the same: a user's
action finds its attempt as the current one, and may add to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sagahook.runtime.telemetry_wire import OurSpan

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes, AttributeValue

_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
LENGTH = 55
"""Of a traceparent."""
_UNSET = Status(StatusCode.UNSET)
NOWHERE = Context()
"""For what has no parent, whatever is current."""


def read(traceparent: str) -> SpanContext | None:
    """None for what is none."""
    return _read(traceparent) if len(traceparent) == LENGTH else None


@lru_cache(maxsize=2048)
def _read(traceparent: str) -> SpanContext | None:
    """All attempts of a saga have one parent, and all records of a batch one link."""
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    told = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    return told if told.is_valid else None


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


class Recording(trace.Span):
    """As `telemetry.Span`, and as OpenTelemetry's."""

    def __init__(
        self,
        origin: Origin,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        parent: SpanContext | None,
        trace_id: int,
        flags: int,
        began_ns: int | None = None,
    ) -> None:
        self._origin = origin
        self._name = name
        self._kind = kind
        self._attributes = dict(attributes)
        self._parent = parent
        span_id = getrandbits(64) or 1
        self._context = SpanContext(trace_id, span_id, False, TraceFlags(flags))
        self._began_ns = time.time_ns() if began_ns is None else began_ns
        self._status = _UNSET
        self._links: list[Link] = []
        self._events: list[Event] = []
        self._is_ours = True
        """Whether nothing was added but what we add."""
        self._ended = False
        self.traceparent = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"

    def add(self, attributes: Mapping[str, str | int | float | bool]) -> None:
        self._attributes.update(attributes)

    def link(self, traceparent: str) -> None:
        to = read(traceparent)
        if to is not None:
            self._links.append(Link(to))

    def fail(self, kind: str) -> None:
        self._attributes["error.type"] = kind
        self._status = Status(StatusCode.ERROR)

    def current(self) -> Current:
        return Current(trace.set_span_in_context(self, NOWHERE))

    def end(self, end_time: int | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        made = OurSpan if self._is_ours else ReadableSpan
        attributes = self._attributes if self._is_ours else BoundedAttributes(attributes=self._attributes)
        self._origin.processor.on_end(
            made(
                name=self._name,
                context=self._context,
                parent=self._parent,
                resource=self._origin.resource,
                attributes=attributes,
                events=self._events,
                links=self._links,
                kind=self._kind,
                status=self._status,
                start_time=self._began_ns,
                end_time=end_time or time.time_ns(),
                instrumentation_scope=self._origin.scope,
            )
        )

    # -- what others may do with it -------------------------------------------------------------------------

    def get_span_context(self) -> SpanContext:
        return self._context

    def is_recording(self) -> bool:
        return not self._ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._is_ours = False
        self._attributes.update(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._is_ours = False
        self._events.append(Event(name, attributes, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._is_ours = False
        self._links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._is_ours = False
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
