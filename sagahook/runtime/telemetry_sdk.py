"""What knows OpenTelemetry's SDK. It is imported only by a process that traces."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import getrandbits
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from sagahook import __version__
from sagahook.runtime.telemetry import Attributes, Kind
from sagahook.runtime.telemetry_recording import LENGTH, NOWHERE, Current, Origin, Recording, read, written
from sagahook.runtime.telemetry_wire import encode

if TYPE_CHECKING:
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
_LOW = (1 << 64) - 1
_USUAL = re.compile(
    r"ByHead\{ParentBased\{root:(AlwaysOnSampler|AlwaysOffSampler|TraceIdRatioBased\{(.+)\}),"
    r"remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,.*\}\}"
)
_RANDOM = 0x02
"""The flag that says of what a trace's id is made (W3C Trace Context level 2)."""


class SdkSpans:
    """As `telemetry.Spans`."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        self._provider = provider
        self._sampler = provider.sampler
        self._bound = bound_of(provider.sampler)
        self._origin = Origin(provider.resource, InstrumentationScope("sagahook", __version__), processor)

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
        # The exporter has no place to say how spans are written; see telemetry_wire.
        trace_exporter.encode_spans = encode  # type: ignore[attr-defined, assignment]
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
        # The names that became stable; without it both libraries use those that came before.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
        if postgres:
            from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

            AsyncPGInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]
        if http:
            from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

            AioHttpClientInstrumentor().instrument(tracer_provider=provider, url_filter=_without_query)
        return cls(provider, processor)

    def begin(self, name: str, kind: Kind, parent: str, attributes: Attributes) -> Recording | None:
        under = read(parent)
        if under is None:
            return None
        flags = under.trace_flags
        return Recording(self._origin, name, _KINDS[kind], attributes, under, under.trace_id, flags)

    def head(
        self,
        name: str,
        kind: Kind,
        parent: str,
        attributes: Callable[[], Attributes],
        came_at: float | None = None,
    ) -> tuple[str, Recording | None]:
        under = read(parent) if parent else None
        trace_id = getrandbits(128) if under is None else under.trace_id
        if self._bound is None:
            is_taken = self._asked(under, trace_id, name, kind, attributes())
        else:
            is_taken = trace_id & _LOW < self._bound if under is None else under.trace_flags.sampled
        flags = _RANDOM if under is None else under.trace_flags & ~TraceFlags.SAMPLED
        if not is_taken:
            # A sender's own span stays the parent of what follows: nobody would ever see ours.
            span_id = getrandbits(64) if under is None else under.span_id
            return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}", None
        recording = Recording(
            self._origin,
            name,
            _KINDS[kind],
            attributes(),
            under,
            trace_id,
            flags | TraceFlags.SAMPLED,
            None if came_at is None else time.time_ns() - int((time.perf_counter() - came_at) * 1e9),
        )
        return recording.traceparent, recording

    def _asked(
        self, under: SpanContext | None, trace_id: int, name: str, kind: Kind, attributes: Attributes
    ) -> bool:
        context = NOWHERE if under is None else trace.set_span_in_context(NonRecordingSpan(under), NOWHERE)
        decided = self._sampler.should_sample(context, trace_id, name, _KINDS[kind], attributes)
        return decided.decision is Decision.RECORD_AND_SAMPLE

    def batch(self, name: str, attributes: Attributes, of: str, started_ns: int) -> Recording:
        flags = _RANDOM | TraceFlags.SAMPLED
        trace_id = getrandbits(128)
        recording = Recording(
            self._origin, name, SpanKind.CONSUMER, attributes, None, trace_id, flags, started_ns
        )
        recording.link(of)
        return recording

    def within(self, traceparent: str) -> Current:
        # One that is longer is none, and need not be remembered.
        return Current(_unread(traceparent[: LENGTH + 1]))

    def current(self) -> str:
        found = trace.get_current_span().get_span_context()
        return written(found) if found.is_valid else ""

    def stop(self, seconds: float) -> None:
        # Not `shutdown`, and in a thread: both wait for a collector that is away much longer than they are told to.
        flushing = Thread(target=self._provider.force_flush, name="telemetry-flush", daemon=True)
        flushing.start()
        flushing.join(seconds)


def bound_of(sampler: Sampler) -> int | None:
    """What the samplers that are mostly configured (`parentbased_…`) come to: a trace that begins here is taken where
    the lower half of its id is less than this, any other where its parent was. None: another sampler, which is to be
    asked each time, and that costs several times as much as all else that is done for what is not recorded."""
    told = _USUAL.fullmatch(sampler.get_description())
    if told is None:
        return None
    share = {"AlwaysOnSampler": 1.0, "AlwaysOffSampler": 0.0}.get(told[1])
    return TraceIdRatioBased.get_bound_for_rate(float(told[2]) if share is None else share)


class ByHead(Sampler):
    """The configured sampler, for what begins a trace: what comes in from outside. Calls out without a parent are
    housekeeping (a database is polled), and begin none."""

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
        if kind not in _BEGINNING and not trace.get_current_span(parent_context).get_span_context().is_valid:
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
        return read(self._traceparent) or trace.INVALID_SPAN_CONTEXT


@lru_cache(maxsize=2048)
def _unread(traceparent: str) -> Context:
    """All attempts of a saga have the same."""
    return trace.set_span_in_context(_Unread(traceparent), NOWHERE)


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


def _without_query(url: URL) -> str:
    """A key may stand in it."""
    return str(url.with_query(None).with_fragment(None).with_user(None))
