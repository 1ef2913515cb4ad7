"""What becomes of sagas, and what holds them up."""

from __future__ import annotations

from deploy.monitoring.boards.parts import quantiles, rate
from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Variable

TYPES = '{task_type=~"$task_type"}'
FAILED = '{task_type=~"$task_type",state!="COMPLETED"}'
RESETS = "sagahook_github_rate_limit_reset_timestamp_seconds"

SAGAS = Dashboard(
    "sagas",
    "sagas",
    "Do sagas come to their end, how long does it take, and what holds them up?",
    (
        Row(
            "Sagas",
            (
                Panel(
                    "Ended",
                    (
                        Query(
                            rate("workflow_tasks_total", by="task_type, state", of=TYPES),
                            "{{task_type}} {{state}}",
                        ),
                    ),
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "Share that failed",
                    (
                        Query(
                            f"sum by (task_type) (rate(workflow_tasks_total{FAILED}[15m]))"
                            f" / sum by (task_type) (rate(workflow_tasks_total{TYPES}[15m]))",
                            "{{task_type}}",
                        ),
                    ),
                    "percentunit",
                    alarming=0.05,
                ),
                Panel(
                    "From start to end",
                    quantiles("workflow_task_duration_seconds", of=TYPES, by="task_type", at=(0.5, 0.95)),
                    "s",
                ),
                Panel(
                    "On the average",
                    (
                        Query(
                            f"{rate('workflow_task_duration_seconds_sum', by='task_type', of=TYPES)}"
                            f" / {rate('workflow_task_duration_seconds_count', by='task_type', of=TYPES)}",
                            "{{task_type}}",
                        ),
                    ),
                    "s",
                    alarming=30,
                ),
                Panel(
                    "Attempts that were made again",
                    (Query(rate("workflow_task_retries_total", by="task_type", of=TYPES), "{{task_type}}"),),
                    "ops",
                ),
                Panel(
                    "Sagas that do not go on by themselves",
                    (Query("max by (kind) (sagahook_stuck_sagas)", "{{kind}}"),),
                    says="failed: effects are left behind. undoing: those of the overdue ones that are being undone.",
                ),
            ),
        ),
        Row(
            "The engine",
            (
                Panel(
                    "Events in the log",
                    (Query(rate("sagahook_saga_events_total", by="type"), "{{type}}"),),
                    "ops",
                    stacked=True,
                ),
                Panel("A transaction takes", quantiles("sagahook_commit_seconds"), "s", alarming=1),
                Panel(
                    "Transactions",
                    (Query("sum(rate(sagahook_commit_seconds_count[$__rate_interval]))", "transactions"),),
                    "ops",
                ),
                Panel(
                    "Attempts in flight",
                    (Query("sum by (instance) (sagahook_attempts_in_flight)", "{{instance}}"),),
                ),
                Panel(
                    "Partitions and their owners",
                    (
                        Query("sum by (instance) (sagahook_partitions_owned)", "{{instance}}"),
                        Query("max(sagahook_partitions)", "all"),
                    ),
                ),
            ),
        ),
        Row(
            "What steps call",
            (
                Panel(
                    "Hosts that are left alone",
                    (Query("max by (host) (sagahook_step_circuit_open)", "{{host}}"),),
                    says="Their circuit is open: they kept failing. Empty is well.",
                ),
                Panel(
                    "Requests that GitHub takes until its limit is reset",
                    (Query("min by (resource) (github_api_rate_limit_remaining)", "{{resource}}"),),
                ),
                Panel(
                    "Seconds until GitHub's limits are reset",
                    (
                        Query(
                            f"max by (resource) ({RESETS}) - time() > 0",
                            "{{resource}}",
                        ),
                    ),
                    "s",
                ),
                Panel(
                    "Answers of GitHub's API",
                    (
                        Query(
                            rate("github_api_requests_total", by="resource, status"),
                            "{{resource}} {{status}}",
                        ),
                    ),
                    "reqps",
                ),
                Panel(
                    "Tasks of coding agents",
                    (Query(rate("codegen_agent_tasks_total", by="status"), "{{status}}"),),
                    "ops",
                ),
            ),
        ),
    ),
    (Variable("task_type", "workflow_tasks_total"),),
)
