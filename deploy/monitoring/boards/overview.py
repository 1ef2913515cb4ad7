"""Is it well, and how much flows through it?"""

from __future__ import annotations

from deploy.monitoring.boards.parts import increase, rate, stat
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

OVERVIEW = Dashboard(
    "overview",
    "overview",
    "Is it well, and how much flows through it?",
    (
        Row(
            "Is it well?",
            (
                stat(
                    "Services that are ready", "count(max by (service) (sagahook_ready) == 1)", says="Of six."
                ),
                stat(
                    "Alerts that fire",
                    'count(ALERTS{alertname=~"Sagahook.+",alertstate="firing"}) or vector(0)',
                    alarming=1,
                ),
                stat(
                    "Oldest webhook that nobody took up",
                    "max(sagahook_oldest_unrouted_seconds)",
                    unit="s",
                    alarming=120,
                ),
                stat("Records behind", "sum(sagahook_kafka_lag_records)", says="Of all readers together."),
                stat("Views behind the log", "max(sagahook_projection_lag_records)", alarming=1000),
                stat(
                    "Sagas that need a person",
                    'sum(max by (kind) (sagahook_stuck_sagas{kind=~"failed|suspended|overdue"}))',
                    alarming=1,
                ),
                stat("Dead letters", "sum(max by (topic) (sagahook_dead_letters))", alarming=1),
                stat(
                    "Endpoints that were disabled",
                    'max(sagahook_notifier_endpoints{state="disabled"})',
                    alarming=1,
                ),
            ),
        ),
        Row(
            "What flows through it",
            (
                Panel(
                    "Webhooks in",
                    (
                        Query(rate("webhook_events_total", by="outcome"), "{{outcome}}"),
                        Query(rate("webhook_errors_total", by="status"), "refused {{status}}"),
                    ),
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Sagas that ended",
                    (Query(rate("workflow_tasks_total", by="state"), "{{state}}"),),
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "Webhooks out",
                    (Query(rate("sagahook_notifier_attempts_total", by="result"), "{{result}}"),),
                    "ops",
                    stacked=True,
                ),
            ),
        ),
        Row(
            "The services",
            (
                Panel("Ready replicas", (Query("sum by (service) (sagahook_ready)", "{{service}}"),)),
                Panel(
                    "What they wait for",
                    (Query("max by (job, check) (sagahook_health) > 0", "{{job}} {{check}}"),),
                    says="1: degraded, 2: unhealthy. Empty is well.",
                ),
                Panel(
                    "Connections to PostgreSQL, of those that may be open",
                    (
                        Query(
                            "sum by (service) (database_connections_active)"
                            " / sum by (service) (sagahook_database_connections_limit)",
                            "{{service}}",
                        ),
                    ),
                    "percentunit",
                ),
                Panel(
                    "Processors",
                    (
                        Query(
                            'sum by (job) (rate(process_cpu_seconds_total{job=~"sagahook-.+"}[$__rate_interval]))',
                            "{{job}}",
                        ),
                    ),
                    says="1: one processor is busy all the time. A process of ours uses one at most.",
                ),
                Panel(
                    "Memory",
                    (
                        Query(
                            'max by (job) (process_resident_memory_bytes{job=~"sagahook-.+"}) / 1e6',
                            "{{job}}",
                        ),
                    ),
                    says="Megabytes of the largest replica.",
                ),
                Panel(
                    "HTTP connections, and what was refused before any route saw it",
                    (
                        Query("sum by (job) (sagahook_http_connections)", "open {{job}}"),
                        Query(
                            rate("sagahook_http_refused_total", by="reason"), "refused a second: {{reason}}"
                        ),
                    ),
                ),
                Panel(
                    "What operators did",
                    (
                        Query(
                            increase("sagahook_operator_acts_total", by="action, outcome"),
                            "{{action}} {{outcome}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
