"""A collector: a real OTLP/HTTP receiver, which decodes what OpenTelemetry's own schema describes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from gzip import decompress

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Value = str | int | float | bool
_KINDS = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True)
class SeenSpan:
    """One that arrived. Ids in hex; links: the (trace id, span id) of each."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    attributes: Mapping[str, Value]
    failed: bool
    links: tuple[tuple[str, str], ...]
    began_ns: int
    ended_ns: int


@dataclass
class Collector:
    """url: for OTEL_EXPORTER_OTLP_ENDPOINT. bodies: as they came."""

    url: str = ""
    spans: list[SeenSpan] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = decompress(body)
        read = ExportTraceServiceRequest.FromString(body)
        async with self._arrived:
            self.bodies.append(body)
            self.spans += spans_of(read)
            self._arrived.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def until(self, wanted: Callable[["Collector"], bool], seconds: float = 30) -> None:
        try:
            async with self._arrived, asyncio.timeout(seconds):
                await self._arrived.wait_for(lambda: wanted(self))
        except TimeoutError:
            raise AssertionError(
                f"after {seconds} s there are {[each.name for each in self.spans]}"
            ) from None

    def trace(self, trace_id: str) -> list[SeenSpan]:
        return [each for each in self.spans if each.trace_id == trace_id]

    def named(self, name: str) -> list[SeenSpan]:
        return [each for each in self.spans if each.name == name]


@asynccontextmanager
async def open_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def spans_of(request: ExportTraceServiceRequest) -> list[SeenSpan]:
    return [
        SeenSpan(
            service=str(_attributes(of_resource.resource.attributes)["service.name"]),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            kind=_KINDS[span.kind],
            attributes=_attributes(span.attributes),
            failed=span.status.code == Status.STATUS_CODE_ERROR,
            links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _attributes(given: Iterable[KeyValue]) -> dict[str, Value]:
    return {each.key: _value(each.value) for each in given}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value
        case other:
            raise AssertionError(f"an attribute is a {other}")


def tree(spans: Iterable[SeenSpan], shown: Callable[[str, Value], Value | None]) -> str:
    """One trace as people read it: under each span its children in the order in which they began, beside it its kind
    and its service, below it its attributes. shown: an attribute's value as it is written; None leaves it out."""
    children: dict[str, list[SeenSpan]] = {}
    for span in sorted(spans, key=lambda each: each.began_ns):
        children.setdefault(span.parent_id, []).append(span)
    lines: list[str] = []

    def write(span: SeenSpan, indent: str) -> None:
        failed = " FAILED" if span.failed else ""
        lines.append(f"{indent}{span.name}  [{span.kind}, {span.service}]{failed}")
        for name, value in sorted(span.attributes.items()):
            written = shown(name, value)
            if written is not None:
                lines.append(f"{indent}    . {name} = {written}")
        for child in children.pop(span.span_id, ()):
            write(child, indent + "  ")

    for root in children.pop("", ()):
        write(root, "")
    if children:
        lines.append(
            f"without a parent: {sorted(each.name for those in children.values() for each in those)}"
        )
    return "\n".join(lines) + "\n"
