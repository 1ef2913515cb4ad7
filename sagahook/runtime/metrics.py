"""The metrics that several services share (api.md §7): one process may hold several of them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

QUEUE_SIZE = Gauge("queue_size", "Records that are readable and were not handled yet", ["topic"])
CELERY_QUEUE_SIZE = Gauge(
    "celery_queue_size", "queue_size, under the name that older dashboards use", ["topic"]
)
DATABASE_CONNECTIONS = Gauge("database_connections_active", "Connections to PostgreSQL in use", ["service"])
OPERATOR_ACTS = Counter("operator_acts_total", "What operators asked for", ["action", "outcome"])


def watch_queue(topic: str, lag: Callable[[], int]) -> None:
    """Both names of the lag, asked for at each scrape."""
    for gauge in (QUEUE_SIZE, CELERY_QUEUE_SIZE):
        gauge.labels(topic).set_function(lag)
