"""Whether a process traces, what begins a trace, and what records that are read from Kafka become of it."""

from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind

from sagahook.runtime import telemetry
from sagahook.runtime.batches import Batch, Batches
from sagahook.runtime.telemetry import Destination, destination
from sagahook.runtime.telemetry_kafka import consuming, linked, sending, sent, traceparent_of
from sagahook.runtime.telemetry_sdk import ByHead, SdkSpans
from sagahook_schemas.envelope import Header

RECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNRECORDED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "shop"},
        COLLECTOR | {"OTEL_SDK_DISABLED": "true"},
        COLLECTOR | {"OTEL_TRACES_EXPORTER": "none"},
        COLLECTOR | {"ENABLE_TRACING": "False"},
    ],
)
def test_nothing_is_traced_unless_somebody_asks_for_it(environ: dict[str, str]) -> None:
    assert destination(environ) is None


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        (COLLECTOR, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, None),
        (COLLECTOR | {"JAEGER_ENDPOINT": "http://jaeger:4318", "ENABLE_TRACING": "true"}, None),
        (COLLECTOR | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"JAEGER_ENDPOINT": "http://jaeger:4318"}, "http://jaeger:4318/v1/traces"),
        ({"JAEGER_ENDPOINT": "http://jaeger:4318/v1/traces"}, "http://jaeger:4318/v1/traces"),
    ],
)
def test_the_standard_variables_say_where_and_the_older_one_does_too(
    environ: dict[str, str], endpoint: str | None
) -> None:
    """None: the SDK reads it from the standard variables itself."""
    assert destination(environ) == Destination(endpoint)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ENABLE_TRACING": "true"}, "set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            COLLECTOR | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        ),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "zipkin"}, "only otlp and none"),
        ({"JAEGER_ENDPOINT": "jaeger:6831"}, "http:// or https://"),
    ],
)
def test_what_is_asked_for_and_cannot_be_had_is_said_and_harms_nothing(
    environ: dict[str, str], says: str
) -> None:
    to = destination(environ)
    assert to is not None
    assert says in to.wrong


class Recorder:
    """Spans of the real SDK, kept here as they end."""

    def __init__(self, configured: Sampler) -> None:
        self.kept = InMemorySpanExporter()
        provider = TracerProvider(sampler=ByHead(configured))
        processor = SimpleSpanProcessor(self.kept)
        provider.add_span_processor(processor)
        self.tracer = provider.get_tracer("somebody's own")
        self.spans = SdkSpans(provider, processor)

    def ended(self) -> list[ReadableSpan]:
        return list(self.kept.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        [found] = [each for each in self.ended() if each.name == name]
        return found


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(ParentBased(ALWAYS_ON))
    monkeypatch.setattr(telemetry, "spans", recorder.spans)
    return recorder


def test_what_comes_in_begins_a_trace_and_what_goes_out_by_itself_does_not(recorder: Recorder) -> None:
    for kind in (SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.CLIENT, SpanKind.INTERNAL):
        recorder.tracer.start_span(kind.name, kind=kind).end()
    assert [each.name for each in recorder.ended()] == ["SERVER", "CONSUMER"]


def test_what_goes_out_within_a_span_belongs_to_it(recorder: Recorder) -> None:
    traceparent, span = recorder.spans.head("in", "server", "", dict)
    assert span is not None
    with span.current():
        assert recorder.spans.current() == traceparent
        recorder.tracer.start_span("out", kind=SpanKind.CLIENT).end()
    span.end()
    assert recorder.one("out").parent == recorder.one("in").get_span_context()


def test_the_head_follows_its_sender_and_without_one_the_configured_sampler() -> None:
    for configured, recorded in ((ParentBased(ALWAYS_ON), True), (ParentBased(ALWAYS_OFF), False)):
        spans = Recorder(configured).spans
        traceparent, span = spans.head("in", "server", "", dict)
        assert (span is not None, int(traceparent[-1]) % 2 == 1) == (recorded, recorded)
        assert spans.head("in", "server", UNRECORDED, dict) == (UNRECORDED, None)
        assert spans.head("in", "server", f"cc{UNRECORDED[2:]}", dict) == (UNRECORDED, None)
        under, span = spans.head("in", "server", RECORDED, dict)
        assert span is not None
        assert under[:36] == RECORDED[:36]


def test_of_the_traces_that_begin_here_the_head_takes_those_that_the_sampler_would() -> None:
    sampler = ParentBased(TraceIdRatioBased(0.3))
    spans = Recorder(sampler).spans
    taken = 0
    for _ in range(200):
        traceparent, span = spans.head("in", "server", "", dict)
        decided = sampler.should_sample(None, int(traceparent[3:35], 16), "in")
        assert (decided.decision is Decision.RECORD_AND_SAMPLE) == (span is not None)
        taken += span is not None
    assert 0 < taken < 200


class OfOneSource(Sampler):
    """Somebody's own."""

    def should_sample(self, *given: Any, **_: Any) -> SamplingResult:
        source = given[4]["source"]
        return SamplingResult(Decision.RECORD_AND_SAMPLE if source == "shop" else Decision.DROP)

    def get_description(self) -> str:
        return "OfOneSource"


def test_a_sampler_of_somebodys_own_is_told_what_the_span_would_say() -> None:
    spans = Recorder(OfOneSource()).spans
    _, shops = spans.head("in", "server", "", lambda: {"source": "shop"})
    _, another = spans.head("in", "server", "", lambda: {"source": "another"})
    assert shops is not None
    assert another is None


def test_a_sampler_that_heeds_no_parent_is_heeded_by_all_that_follows() -> None:
    refused, span = Recorder(ALWAYS_OFF).spans.head("in", "server", RECORDED, dict)
    assert (refused, span) == (f"{RECORDED[:-2]}00", None)
    taken, span = Recorder(ALWAYS_ON).spans.head("in", "server", UNRECORDED, dict)
    assert span is not None
    assert (taken[:36], taken[-2:]) == (UNRECORDED[:36], "01")


def test_behind_the_head_the_flag_alone_decides(recorder: Recorder) -> None:
    assert telemetry.is_recorded(RECORDED)
    assert not telemetry.is_recorded(UNRECORDED)
    assert not telemetry.is_recorded("")
    assert recorder.spans.begin("step", "internal", "00-a-b-01", {}) is None


def test_within_an_unrecorded_trace_its_id_is_handed_on_and_nothing_is_recorded(recorder: Recorder) -> None:
    with recorder.spans.within(UNRECORDED):
        assert recorder.spans.current() == UNRECORDED
        recorder.tracer.start_span("out", kind=SpanKind.SERVER).end()
    assert recorder.spans.current() == ""
    assert recorder.ended() == []


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def record(offset: int, traceparent: str = "", **headers: bytes) -> ConsumerRecord:
    given: list[Header] = [("ce_id", b"evt-%d" % offset), *headers.items()]
    if traceparent:
        given.append(("traceparent", traceparent.encode()))
    return ConsumerRecord("t.commands", 3, offset, 0, 0, b"key", b"{}", None, 3, 2, tuple(given))


def test_a_recorded_record_is_handed_on_with_a_span_of_its_own_and_others_as_they_are(
    recorder: Recorder,
) -> None:
    with consuming("owners") as consumed:
        given = [record(0), record(1, UNRECORDED), record(2, RECORDED, ce_sagaid=b"s-1")]
        taken = [consumed.take(each) for each in given]
    assert taken[:2] == given[:2]
    span = recorder.one("process t.commands")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == RECORDED.split("-")[2]
    assert traceparent_of(taken[2].headers) == (f"{RECORDED[:36]}{id_of(span):016x}-01")
    assert [name for name, _ in taken[2].headers].count("traceparent") == 1
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "t.commands",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 2,
        "messaging.consumer.group.name": "owners",
        "messaging.message.id": "evt-2",
        "sagahook.saga.id": "s-1",
    }


def test_a_batch_links_to_every_recorded_one_of_it_and_counts_all(recorder: Recorder) -> None:
    other = RECORDED.replace("0af7", "0af8")
    with consuming("owners") as consumed:
        for offset, traceparent in enumerate((UNRECORDED, RECORDED, "", other)):
            consumed.take(record(offset, traceparent))
    batch = recorder.one("batch t.commands")
    assert (batch.parent, batch.kind) == (None, SpanKind.CONSUMER)
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [RECORDED[3:35], other[3:35]]
    assert (batch.attributes or {})["messaging.batch.message_count"] == 4
    of_records = [each for each in recorder.ended() if each.name == "process t.commands"]
    assert [each.links[0].context.span_id for each in of_records] == [id_of(batch)] * 2


def test_a_batch_that_was_not_kept_says_so_and_why(recorder: Recorder) -> None:
    def handle() -> None:
        with consuming("owners") as consumed:
            consumed.take(record(0, RECORDED))
            raise TimeoutError

    with pytest.raises(TimeoutError):
        handle()
    for span in recorder.ended():
        assert not span.status.is_ok
        assert (span.attributes or {})["error.type"] == "TimeoutError"
    assert len(recorder.ended()) == 2


def test_where_work_comes_in_a_record_without_a_trace_begins_one(recorder: Recorder) -> None:
    with consuming("routers", heads=True) as consumed:
        taken = consumed.take(record(0))
    assert recorder.one("process t.commands").parent is None
    assert telemetry.is_recorded(traceparent_of(taken.headers))


async def test_a_handler_of_batches_works_within_a_span_that_links_to_their_records(
    recorder: Recorder,
) -> None:
    async def handle(_: Batches) -> None:
        recorder.tracer.start_span("SELECT", kind=SpanKind.CLIENT).end()

    batches = {TopicPartition("t.commands", 3): Batch(0, 2, (record(0, RECORDED), record(1)))}
    await linked("projector", handle)(batches)
    batch = recorder.one("batch t.commands")
    assert recorder.one("SELECT").parent == batch.get_span_context()
    assert len(batch.links) == 1


def test_what_is_sent_has_a_span_until_kafka_has_it(recorder: Recorder) -> None:
    assert sending("t.received", UNRECORDED, 2, "c-1") is None
    span = sending("t.received", RECORDED, 2, "c-1")
    assert span is not None
    assert recorder.ended() == []
    sent(span, "evt-1", 3, 17)
    [ended] = recorder.ended()
    assert (ended.name, ended.kind) == ("send t.received", SpanKind.PRODUCER)
    assert (ended.attributes or {})["messaging.kafka.offset"] == 17


def test_where_nothing_is_traced_records_stay_as_they_are_and_handlers_too() -> None:
    async def handle(_: object) -> None: ...

    given = record(0, RECORDED)
    with consuming("owners", heads=True) as consumed:
        assert consumed.take(given) is given
    assert linked("projector", handle) is handle
    assert telemetry.current_traceparent() == ""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
