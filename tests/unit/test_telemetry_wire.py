"""What we write of our spans is, byte for byte read again, what the published encoder writes of them."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from sagahook.runtime.telemetry_recording import Origin, Recording
from sagahook.runtime.telemetry_wire import encode, is_ours

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
VALUES = st.one_of(
    st.text(max_size=300), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)


class Kept:
    """Spans as they end."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self._ids = itertools.count(0xF067AA0BA902B7)
        resource = Resource.create({"service.name": "sagahook-runner", "service.instance.id": "r-1"})
        self.origin = Origin(
            resource, InstrumentationScope("sagahook", "1"), SimpleSpanProcessor(self.exporter)
        )

    def begin(
        self, attributes: Mapping[str, Any], kind: SpanKind = SpanKind.INTERNAL, parent: str = PARENT
    ) -> Recording:
        own = f"00-80000000000000000000000000000001-{next(self._ids):016x}-03"
        return Recording(self.origin, "step chärge", kind, attributes, parent, own)

    def ended(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


def read_again(spans: list[ReadableSpan]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.ParseFromString(encode(spans).SerializePartialToString())
    return request


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.text(min_size=1, max_size=200), VALUES, max_size=6), min_size=1, max_size=4)
)
def test_whatever_the_attributes_are(attributes: list[dict[str, Any]]) -> None:
    kept = Kept()
    for each in attributes:
        kept.begin(each).end()
    assert all(is_ours(each) for each in kept.ended())
    assert read_again(kept.ended()) == encode_spans(kept.ended())


@pytest.mark.parametrize("kind", list(SpanKind))
@pytest.mark.parametrize("parent", [PARENT, ""])
def test_whatever_its_kind_is_and_wherever_it_belongs(kind: SpanKind, parent: str) -> None:
    kept = Kept()
    span = kept.begin({}, kind, parent)
    span.link(PARENT)
    span.link(span.traceparent)
    span.fail("TimeoutError")
    span.end()
    assert read_again(kept.ended()) == encode_spans(kept.ended())


def test_what_others_add_to_it_and_spans_of_theirs_go_along() -> None:
    kept = Kept()
    provider = TracerProvider(resource=kept.origin.resource)
    provider.add_span_processor(kept.origin.processor)
    provider.get_tracer("asyncpg").start_span("SELECT", attributes={"rows": (1, 2)}).end()
    kept.begin({"ours": True}).end()
    added_to = kept.begin({"ours": True})
    added_to.set_attribute("theirs", ["a", "b"])
    added_to.add_event("seen", {"at": "once"})
    added_to.record_exception(ValueError("card 4111111111111111"))
    added_to.set_status(StatusCode.OK)
    added_to.end()
    ended = kept.ended()
    assert [is_ours(each) for each in ended] == [False, True, False]
    spans = {each.span_id: each for each in spans_in(read_again(ended))}
    assert spans == {each.span_id: each for each in spans_in(encode_spans(ended))}
    assert b"4111" not in bytes(encode(ended))


def test_the_exporter_asks_for_bytes_as_we_answer() -> None:
    """What is replaced is there, by that name, and what comes in its place has the one method that is called."""
    assert vars(trace_exporter)["encode_spans"] in (encode_spans, encode)
    assert "encode_spans" in trace_exporter.OTLPSpanExporter.export.__code__.co_names
    assert "SerializePartialToString" in trace_exporter.OTLPSpanExporter.export.__code__.co_names


def spans_in(request: ExportTraceServiceRequest) -> list[Any]:
    return [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
