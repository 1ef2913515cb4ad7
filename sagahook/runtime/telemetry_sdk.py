"""What knows OpenTelemetry's SDK. It is imported only by a process that traces."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from sagahook import __version__
from sagahook.runtime.telemetry import Attributes, Kind

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import TraceState
    from opentelemetry.util.types import Attributes as OtelAttributes
    from yarl import URL

_KINDS: dict[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}
_BEGINNING = frozenset({SpanKind.SERVER, SpanKind.PRODUCER, SpanKind.CONSUMER})
_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_NOWHERE = Context()
"""For what has no parent, whatever is current."""


class Recording:
    """A span of the SDK's, as `telemetry.Span`."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self.traceparent = _written(span.get_span_context())

    def add(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def link(self, traceparent: str) -> None:
        read = _read(traceparent)
        if read is not None:
            self._span.add_link(read)

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        self._span.end()

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )


class SdkSpans:
    """As `telemetry.Spans`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("sagahook", __version__)

    @classmethod
    def start(
        cls, service: str, instance: str, endpoint: str | None, *, postgres: bool, http: bool
    ) -> SdkSpans:
        """The provider becomes the process's: what others' instrumentation makes, and users' actions, goes with it."""
        named = {"service.name": f"sagahook-{service}", "service.version": __version__}
        if instance:
            named["service.instance.id"] = instance
        provider = TracerProvider(resource=_resource(named), shutdown_on_exit=False)
        provider.sampler = ByHead(provider.sampler)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        trace.set_tracer_provider(provider)
        # The names that became stable; without it both libraries use those that came before.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
        if postgres:
            from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

            AsyncPGInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]
        if http:
            from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

            AioHttpClientInstrumentor().instrument(tracer_provider=provider, url_filter=_without_query)
        return cls(provider)

    def begin(self, name: str, kind: Kind, parent: str, attributes: Attributes) -> Recording | None:
        read = _read(parent)
        if read is None:
            return None
        span = self._tracer.start_span(name, _under(read), _KINDS[kind], attributes)
        return Recording(span) if span.is_recording() else None

    def head(
        self, name: str, kind: Kind, parent: str, attributes: Attributes, started_ns: int | None = None
    ) -> tuple[str, Recording | None]:
        read = _read(parent)
        under = _NOWHERE if read is None else _under(read)
        span = self._tracer.start_span(name, under, _KINDS[kind], attributes, start_time=started_ns)
        if span.is_recording():
            recording = Recording(span)
            return recording.traceparent, recording
        # The sender's own span stays the parent of what follows: nobody has ever seen ours.
        return (_written(span.get_span_context()) if read is None else parent), None

    def batch(self, name: str, attributes: Attributes, of: str, started_ns: int) -> Recording | None:
        read = _read(of)
        if read is None:
            return None
        span = self._tracer.start_span(
            name, _NOWHERE, SpanKind.CONSUMER, attributes, [Link(read)], started_ns
        )
        return Recording(span) if span.is_recording() else None

    @contextmanager
    def within(self, traceparent: str) -> Iterator[None]:
        token = context.attach(trace.set_span_in_context(_Unread(traceparent), _NOWHERE))
        try:
            yield
        finally:
            context.detach(token)

    def current(self) -> str:
        found = trace.get_current_span().get_span_context()
        return _written(found) if found.is_valid else ""

    def stop(self, seconds: float) -> None:
        # Not `shutdown`, and in a thread: both wait for a collector that is away much longer than they are told to.
        flushing = Thread(target=self._provider.force_flush, name="telemetry-flush", daemon=True)
        flushing.start()
        flushing.join(seconds)


class ByHead(Sampler):
    """The configured sampler, for what begins a trace: what comes in from outside. Calls out without a parent are
    housekeeping (a database is polled), and begin none. A batch is recorded where one of those that it is for is."""

    def __init__(self, configured: Sampler) -> None:
        self._configured = configured

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: OtelAttributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if not trace.get_current_span(parent_context).get_span_context().is_valid:
            if links:
                recorded = any(link.context.trace_flags.sampled for link in links)
                return SamplingResult(Decision.RECORD_AND_SAMPLE if recorded else Decision.DROP, attributes)
            if kind not in _BEGINNING:
                return SamplingResult(Decision.DROP)
        return self._configured.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"ByHead{{{self._configured.get_description()}}}"


class _Unread(NonRecordingSpan):
    """One of another process, whose ids are read only where somebody asks for them: most never do."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    def get_span_context(self) -> SpanContext:
        return _read(self._traceparent) or trace.INVALID_SPAN_CONTEXT


def _resource(named: dict[str, str]) -> Resource:
    """With what the environment says; that comes before what we say."""
    said = Resource.create()
    unnamed = str(said.attributes.get("service.name", "")).startswith("unknown_service")
    kept = {
        name: value
        for name, value in named.items()
        if name not in said.attributes or (name == "service.name" and unnamed)
    }
    return said.merge(Resource(kept))


def _read(traceparent: str) -> SpanContext | None:
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    read = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    return read if read.is_valid else None


def _written(of: SpanContext) -> str:
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}"


def _under(parent: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent), _NOWHERE)


def _without_query(url: URL) -> str:
    """A key may stand in it."""
    return str(url.with_query(None).with_fragment(None).with_user(None))
