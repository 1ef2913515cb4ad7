"""What knows OpenTelemetry's SDK. It is imported only by a process that traces."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from random import getrandbits
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from sagahook import __version__
from sagahook.runtime.telemetry import SAMPLED, Attributes, Kind
from sagahook.runtime.telemetry_recording import (
    LENGTH,
    NOWHERE,
    Current,
    Origin,
    Recording,
    is_valid,
    read,
    written,
)
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
_USUAL = re.compile(
    r"ByHead\{ParentBased\{root:(AlwaysOnSampler|AlwaysOffSampler|TraceIdRatioBased\{(.+)\}),"
    r"remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,.*\}\}"
)
_VERSION = "00"
"""Of what is written here, whatever a sender wrote: later ones begin with the same fields (W3C Trace Context §2.1)."""
_RANDOM = 0x02
"""The flag that says of what a trace's id is made (W3C Trace Context level 2)."""
_DRAWS = 256
_ID_BYTES = 24
"""Of a trace's id and a span's."""


class SdkSpans:
    """As `telemetry.Spans`."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        self._provider = provider
        self._sampler = provider.sampler
        self._bound = bound_of(provider.sampler)
        self._draws: Iterator[str] = iter(())
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
        processor = _Exporting(OTLPSpanExporter(endpoint=endpoint))
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
        if not is_valid(parent):
            return None
        traceparent = f"{_VERSION}{parent[2:36]}{_span_id()}{parent[52:]}"
        return Recording(self._origin, name, _KINDS[kind], attributes, parent, traceparent)

    def head(
        self,
        name: str,
        kind: Kind,
        parent: str,
        attributes: Callable[[], Attributes],
        came_at: float | None = None,
    ) -> tuple[str, Recording | None]:
        under = parent if is_valid(parent) else ""
        traceparent = f"{_VERSION}{under[2:]}" if under else self._drawn()
        is_taken = traceparent[-1] in SAMPLED
        if self._bound is None:
            is_taken = self._asked(under, traceparent, name, kind, attributes())
            traceparent = _flagged(traceparent, is_taken=is_taken)
        if not is_taken:
            # A sender's own span stays the parent of what follows: nobody would ever see ours.
            return traceparent, None
        if under:
            traceparent = f"{traceparent[:36]}{_span_id()}{traceparent[52:]}"
        began_ns = None if came_at is None else time.time_ns() - int((time.perf_counter() - came_at) * 1e9)
        said = attributes()
        return traceparent, Recording(self._origin, name, _KINDS[kind], said, under, traceparent, began_ns)

    def _drawn(self) -> str:
        """A trace that begins here, with whether it is taken. Many are drawn at once, in less time for each."""
        found = next(self._draws, "")
        if not found:
            self._draws = iter(_draw(self._bound or 0))
            return self._drawn()
        return found

    def _asked(self, under: str, traceparent: str, name: str, kind: Kind, attributes: Attributes) -> bool:
        parent = read(under)
        context = NOWHERE if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), NOWHERE)
        trace_id = int(traceparent[3:35], 16)
        decided = self._sampler.should_sample(context, trace_id, name, _KINDS[kind], attributes)
        return decided.decision is Decision.RECORD_AND_SAMPLE

    def batch(self, name: str, attributes: Attributes, of: str, started_ns: int) -> Recording:
        traceparent = _flagged(self._drawn(), is_taken=True)
        recording = Recording(self._origin, name, SpanKind.CONSUMER, attributes, "", traceparent, started_ns)
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


class _Exporting(BatchSpanProcessor):
    """It asks each span whether it is sampled, which makes a context of it first. Ours all are."""

    def on_end(self, span: ReadableSpan) -> None:
        if isinstance(span, Recording):
            self._batch_processor.emit(span)
        else:
            super().on_end(span)


def _span_id() -> str:
    return f"{getrandbits(64) or 1:016x}"


def _flagged(traceparent: str, *, is_taken: bool) -> str:
    flags = int(traceparent[53:], 16) & ~TraceFlags.SAMPLED | (TraceFlags.SAMPLED if is_taken else 0)
    return f"{traceparent[:53]}{flags:02x}"


def _draw(bound: int) -> list[str]:
    """Traceparents of new traces, each taken where the lower half of its id is less than the bound."""
    digits = os.urandom(_ID_BYTES * _DRAWS).hex()
    drawn = [digits[at : at + 2 * _ID_BYTES] for at in range(0, len(digits), 2 * _ID_BYTES)]
    return [f"{_VERSION}-{d[:32]}-{d[32:]}-{_RANDOM + (int(d[16:32], 16) < bound):02x}" for d in drawn]


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
