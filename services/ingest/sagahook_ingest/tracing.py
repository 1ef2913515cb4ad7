"""The span of a webhook's request: the root of all that it leads to, or a child of what its sender traces.

It begins once the request is known to be its source's, with the time at which it came: who cannot sign costs no span.
What stands in the URL behind the path may be a secret, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sagahook.runtime.logging import about, trace_fields
from sagahook.runtime.telemetry import Attributes, Span, Spans
from sagahook_ingest.answers import Answer, refused
from sagahook_ingest.domain.reading import Request
from sagahook_ingest.handlers import Receiver
from sagahook_ingest.routes import Route


@dataclass(frozen=True, slots=True)
class _Received:
    correlation_id: str
    source: str
    traceparent: str

    @property
    def log_fields(self) -> Mapping[str, object]:
        named = {"correlation_id": self.correlation_id, "source": self.source}
        return named | trace_fields(self.traceparent)


async def serve(
    spans: Spans,
    route: Route,
    request: Request,
    receiver: Receiver,
    correlation_id: str,
    limit: int,
    started: float,
) -> Answer:
    """As the route's endpoint itself. started: when the request came, by `time.perf_counter`. Raises Refusal,
    Unavailable."""
    span = begin(spans, route, request, correlation_id, started)
    tell_logs(request, correlation_id)
    status = 499  # it was cancelled: the sender is gone
    try:
        answer = await route.endpoint(request, receiver, correlation_id, limit)
        status = answer.status
    except Exception as raised:
        status = refused(raised, correlation_id).status
        raise
    else:
        return answer
    finally:
        end(span, status)


def begin(spans: Spans, route: Route, request: Request, correlation_id: str, started: float) -> Span | None:
    """The span, where it is recorded; the request goes on with its traceparent."""

    def said() -> Attributes:
        return {
            "http.request.method": "POST",
            "http.route": route.pattern,
            "sagahook.source": request.source.name,
            "sagahook.correlation_id": correlation_id,
        }

    request.traceparent, span = spans.head(
        f"POST {route.pattern}", "server", request.traceparent, said, started
    )
    return span


def tell_logs(request: Request, correlation_id: str) -> None:
    """From here on lines of the log know what they are about."""
    about(_Received(correlation_id, request.source.name, request.traceparent))


def end(span: Span | None, status: int) -> None:
    if span is None:
        return
    span.add({"http.response.status_code": status})
    if status >= 500:
        span.fail(str(status))
    span.end()
