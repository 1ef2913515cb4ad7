"""The span of one attempt to deliver, under the trace of the saga that it tells of.

It says where it went by host and port alone: the rest of an endpoint's URL is often its secret.
"""

from __future__ import annotations

from sagahook.runtime import telemetry
from sagahook.runtime.telemetry import Span, is_recorded
from sagahook_notifier.domain.deliveries import Claimed, Exchange
from sagahook_notifier.domain.policies import Answer, NoAnswer
from sagahook_notifier.domain.urls import InvalidUrl, destination


def attempt_span(claimed: Claimed) -> Span | None:
    """None where its trace is not recorded."""
    spans = telemetry.spans
    if spans is None or not is_recorded(claimed.traceparent):
        return None
    said: dict[str, str | int | float | bool] = {
        "http.request.method": "POST",
        "http.request.resend_count": claimed.attempt - 1,
        "sagahook.delivery.id": claimed.delivery_id,
        "sagahook.delivery.attempt": claimed.attempt,
        "sagahook.endpoint.id": claimed.target.endpoint_id,
        "sagahook.event.id": claimed.event_id,
        "sagahook.event.type": claimed.event_type,
        "sagahook.saga.id": claimed.saga_id,
        "sagahook.saga.run": claimed.run,
        "sagahook.correlation_id": claimed.correlation_id,
    }
    try:
        to = destination(claimed.target.url)
    except InvalidUrl:
        pass  # nothing is sent, and the exchange says so
    else:
        said |= {"server.address": to.host, "server.port": to.port}
    return spans.begin(f"deliver {claimed.event_type}", "client", claimed.traceparent, said)


def say_what_came(span: Span, exchange: Exchange) -> None:
    match exchange.said:
        case Answer(status=status):
            span.add({"http.response.status_code": status})
            if status >= 400:
                span.fail(str(status))
        case NoAnswer():
            span.fail("no_answer")
        case _:
            span.fail("not_sent")
