"""The tracker's own metrics, by their names in api.md §7. They count what this process projected."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from sagahook_tracker.domain.changes import Changes

TASKS = Counter("workflow_tasks_total", "Sagas that became final", ["task_type", "state"])
TASK_DURATION = Histogram(
    "workflow_task_duration_seconds",
    "From a saga's start to its final state",
    ["task_type"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
TASK_RETRIES = Counter("workflow_task_retries_total", "Further attempts of steps", ["task_type"])
DEAD_LETTERS = Counter(
    "sagahook_tracker_dead_letters_total", "Records that could not be projected", ["topic"]
)
STUCK_SAGAS = Gauge(
    "sagahook_stuck_sagas",
    "Sagas that do not go on by themselves, or should have by now; of those that are overdue, undoing are being undone",
    ["kind"],
)
DEAD_LETTER_COUNT = Gauge(
    "sagahook_dead_letters", "Records in a dead-letter topic, or at most that many", ["topic"]
)
OLDEST_UNPROCESSED = Gauge(
    "sagahook_oldest_unprocessed_seconds", "Age of the oldest webhook that is not final; 0: there is none"
)
OLDEST_UNROUTED = Gauge(
    "sagahook_oldest_unrouted_seconds", "Age of the oldest webhook that no router took up; 0: there is none"
)
PROJECTION_LAG = Gauge("sagahook_projection_lag_records", "Offsets that the views are behind the log")


def count(changes: Changes) -> None:
    for key in changes.ended:
        run = changes.runs[key]
        TASKS.labels(run.name, run.state).inc()
        if run.started_at is not None and run.finished_at is not None:
            TASK_DURATION.labels(run.name).observe((run.finished_at - run.started_at).total_seconds())
    for name, retries in changes.retries.items():
        TASK_RETRIES.labels(name).inc(retries)
