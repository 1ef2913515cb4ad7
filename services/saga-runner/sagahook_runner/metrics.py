"""saga-runner's metrics, each named once (api.md §7 and our own)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WEBHOOKS_ROUTED = Counter(
    "sagahook_webhooks_routed_total", "Webhooks routed, by what became of them", ["outcome"]
)
for _outcome in ("triggered", "ignored", "failed"):
    WEBHOOKS_ROUTED.labels(_outcome)  # a rate needs the 0 before the first
EVENTS_WRITTEN = Counter("sagahook_saga_events_total", "Events written to the saga log", ["type"])
COMMITS = Histogram(
    "sagahook_commit_seconds",
    "Duration of an owner's transaction",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
ATTEMPTS_IN_FLIGHT = Gauge("sagahook_attempts_in_flight", "Attempts that run or wait to run in this process")
PARTITIONS_OWNED = Gauge("sagahook_partitions_owned", "Partitions whose sagas this process owns")
PARTITIONS = Gauge("sagahook_partitions", "Partitions that there are of sagas")
