"""Webhooks in and webhooks out."""

from __future__ import annotations

from deploy.monitoring.boards.parts import increase, quantiles, rate
from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Variable

SOURCES = '{source=~"$source"}'

WEBHOOKS_IN = Dashboard(
    "webhooks-in",
    "webhooks in",
    "Who sends what, what is refused and why, and how soon is it taken up?",
    (
        Row(
            "From senders",
            (
                Panel(
                    "Answered well",
                    (
                        Query(
                            rate("webhook_events_total", by="source, outcome", of=SOURCES),
                            "{{source}} {{outcome}}",
                        ),
                    ),
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Refused",
                    (
                        Query(
                            rate("webhook_errors_total", by="source, status", of=SOURCES),
                            "{{source}} {{status}}",
                        ),
                    ),
                    "reqps",
                    says="unknown: sources that do not exist, so whatever the internet sends.",
                ),
                Panel(
                    "From a request's headers to its good answer",
                    quantiles("webhook_processing_duration_seconds", of=SOURCES, by="source"),
                    "s",
                ),
                Panel(
                    "Not shown to be the source's",
                    (
                        Query(
                            rate(
                                "sagahook_webhook_signature_failures_total", by="source, scheme", of=SOURCES
                            ),
                            "{{source}} {{scheme}}",
                        ),
                    ),
                    "reqps",
                ),
                Panel(
                    "Handshakes",
                    (
                        Query(
                            increase("sagahook_webhook_handshakes_total", by="source, kind", of=SOURCES),
                            "{{source}} {{kind}}",
                        ),
                    ),
                ),
                Panel(
                    "Readings of the sources' configuration",
                    (
                        Query(
                            increase("sagahook_source_configuration_reads_total", by="job, outcome"),
                            "{{job}} {{outcome}}",
                        ),
                        Query("max by (job) (sagahook_sources_broken) > 0", "{{job}} cannot use it"),
                    ),
                ),
            ),
        ),
        Row(
            "Into the log, and on",
            (
                Panel(
                    "Waiting for Kafka's acknowledgement",
                    (Query("sum(sagahook_ingest_publishing)", "webhooks"),),
                ),
                Panel(
                    "Idempotency-Keys and delivery ids remembered",
                    (Query("max(sagahook_ingest_idempotency_keys)", "keys"),),
                    says="SAGAHOOK_IDEMPOTENCY_KEYS at most; beyond it the oldest go first.",
                ),
                Panel(
                    "Routed",
                    (Query(rate("sagahook_webhooks_routed_total", by="outcome"), "{{outcome}}"),),
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "Oldest that no router took up",
                    (Query("max(sagahook_oldest_unrouted_seconds)", "age"),),
                    "s",
                    alarming=120,
                ),
                Panel(
                    "Oldest that is not final",
                    (Query("max(sagahook_oldest_unprocessed_seconds)", "age"),),
                    "s",
                ),
            ),
        ),
    ),
    (Variable("source", "webhook_events_total"),),
)

WEBHOOKS_OUT = Dashboard(
    "webhooks-out",
    "webhooks out",
    "Do outbound webhooks arrive, and who does not take them?",
    (
        Row(
            "Deliveries",
            (
                Panel(
                    "Planned, and ended",
                    (
                        Query("sum(rate(sagahook_notifier_planned_total[$__rate_interval]))", "planned"),
                        Query(rate("sagahook_notifier_deliveries_total", by="outcome"), "{{outcome}}"),
                    ),
                    "ops",
                ),
                Panel(
                    "Attempts",
                    (Query(rate("sagahook_notifier_attempts_total", by="result"), "{{result}}"),),
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "An attempt takes",
                    quantiles("sagahook_notifier_attempt_seconds", at=(0.5, 0.95, 0.99)),
                    "s",
                ),
                Panel(
                    "Not at their end",
                    (
                        Query("max(sagahook_notifier_waiting)", "deliveries"),
                        Query("sum(sagahook_notifier_sending)", "attempts under way"),
                    ),
                ),
                Panel(
                    "The first one is due since",
                    (Query("max(sagahook_notifier_late_seconds)", "late"),),
                    "s",
                    says="It grows where nobody dispatches, and where a receiver is slower than its events come.",
                    alarming=300,
                ),
            ),
        ),
        Row(
            "Receivers, and what becomes known of deliveries",
            (
                Panel("Endpoints", (Query("max by (state) (sagahook_notifier_endpoints)", "{{state}}"),)),
                Panel(
                    "Disabled by failing, within an hour",
                    (Query("sum(increase(sagahook_notifier_disabled_total[1h]))", "endpoints"),),
                    alarming=1,
                ),
                Panel(
                    "Outcomes on their way to Kafka",
                    (
                        Query("max(sagahook_notifier_outbox)", "transactions that wait"),
                        Query(
                            "sum(rate(sagahook_notifier_published_total[$__rate_interval]))",
                            "published a second",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
