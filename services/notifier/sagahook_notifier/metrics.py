"""The notifier's metrics, each declared once."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PLANNED = Counter("sagahook_notifier_planned", "Deliveries that events asked for, replays included")
ATTEMPTS = Counter("sagahook_notifier_attempts", "Attempts that were made and recorded", ["result"])
DELIVERIES = Counter("sagahook_notifier_deliveries", "Deliveries that came to their end", ["outcome"])
DISABLED = Counter("sagahook_notifier_disabled", "Endpoints that were disabled by failing or by a 410")
SENDING = Gauge("sagahook_notifier_sending", "Attempts under way")
ATTEMPT_SECONDS = Histogram(
    "sagahook_notifier_attempt_seconds",
    "From the start of an attempt to the receiver's answer",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)
PUBLISHED = Counter("sagahook_notifier_published", "Outcomes that Kafka took")
