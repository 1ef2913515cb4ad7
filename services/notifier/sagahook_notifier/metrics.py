"""The notifier's metrics, each declared once."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ENDPOINT_STATES = ("well", "circuit_open", "disabled", "off")
"""circuit_open: it kept failing, and is left alone for a while. disabled: by us; off: by a person."""

PLANNED = Counter("sagahook_notifier_planned_total", "Deliveries that events asked for, replays included")
ATTEMPTS = Counter("sagahook_notifier_attempts_total", "Attempts that were made and recorded", ["result"])
DELIVERIES = Counter("sagahook_notifier_deliveries_total", "Deliveries that came to their end", ["outcome"])
for _result in ("succeeded", "failed"):
    ATTEMPTS.labels(_result)  # a rate needs the 0 before the first
for _outcome in ("succeeded", "exhausted"):
    DELIVERIES.labels(_outcome)
DISABLED = Counter("sagahook_notifier_disabled_total", "Endpoints that were disabled by failing or by a 410")
SENDING = Gauge("sagahook_notifier_sending", "Attempts under way")
ATTEMPT_SECONDS = Histogram(
    "sagahook_notifier_attempt_seconds",
    "From the start of an attempt to the receiver's answer",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)
PUBLISHED = Counter("sagahook_notifier_published_total", "Outcomes that Kafka took")
ENDPOINTS = Gauge(
    "sagahook_notifier_endpoints",
    "Endpoints that people made; state is well, circuit_open, disabled (by failing) or off (by a person)",
    ["state"],
)
WAITING = Gauge("sagahook_notifier_waiting", "Deliveries that have not come to their end")
LATE = Gauge(
    "sagahook_notifier_late_seconds",
    "How long the delivery that should have been sent first has been due; 0: none is",
)
OUTBOX = Gauge("sagahook_notifier_outbox", "Transactions whose outcomes Kafka does not have yet")
LET_GO = Counter(
    "sagahook_notifier_let_go_total",
    "What was deleted because of its age: deliveries with their attempts, dead_letters with theirs, what is "
    "remembered of sagas, and callers (endpoints that a webhook named for itself)",
    ["kind"],
)
for _kind in ("deliveries", "dead_letters", "sagas", "callers"):
    LET_GO.labels(_kind)
