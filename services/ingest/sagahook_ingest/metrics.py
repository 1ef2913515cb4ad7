"""The metrics of ingest, each declared here and nowhere else (api.md §7)."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram

UNKNOWN_SOURCE = "unknown"
"""The label of everything sent to a source that does not exist, so that senders cannot make label values."""

WEBHOOK_EVENTS = Counter(
    "webhook_events_total",
    "Webhooks answered well; outcome is accepted, or duplicate for the first answer given again",
    ["source", "outcome"],
)
WEBHOOK_ERRORS = Counter("webhook_errors_total", "Webhooks not accepted", ["source", "status"])
SIGNATURE_FAILURES = Counter(
    "webhook_signature_failures_total",
    "Webhooks of which it was not shown that their source sent them",
    ["source", "scheme"],
)
HANDSHAKES = Counter(
    "webhook_handshakes_total",
    "Questions of senders before they send; kind is validation or challenge",
    ["source", "kind"],
)
WEBHOOK_DURATION = Histogram(
    "webhook_processing_duration_seconds",
    "From the request's headers to its good answer",
    ["source"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("ingest_publishing", "Webhooks that wait for Kafka's acknowledgement")
IDEMPOTENCY_KEYS = Gauge("ingest_idempotency_keys", "Idempotency-Keys and delivery ids remembered")


class _OfSource(NamedTuple):
    accepted: Counter
    duplicate: Counter
    duration: Histogram


_BY_SOURCE: dict[str, _OfSource] = {}


def accepted(source: str, seconds: float, accepted: int, duplicates: int) -> None:
    """A good answer. Looking a label up costs as much as counting, so each source's are kept."""
    kept = _BY_SOURCE.get(source)
    if kept is None:
        kept = _BY_SOURCE[source] = _OfSource(
            WEBHOOK_EVENTS.labels(source, "accepted"),
            WEBHOOK_EVENTS.labels(source, "duplicate"),
            WEBHOOK_DURATION.labels(source),
        )
    if accepted:
        kept.accepted.inc(accepted)
    if duplicates:
        kept.duplicate.inc(duplicates)
    kept.duration.observe(seconds)
