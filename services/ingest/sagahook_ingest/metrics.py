"""The metrics of ingest, each declared here and nowhere else (api.md §7)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

UNKNOWN_SOURCE = "unknown"
"""The label of everything sent to a source that does not exist, so that senders cannot make label values."""

WEBHOOK_ERRORS = Counter("webhook_errors_total", "Webhooks not accepted", ["source", "status"])
SIGNATURE_FAILURES = Counter(
    "sagahook_webhook_signature_failures_total",
    "Webhooks of which it was not shown that their source sent them",
    ["source", "scheme"],
)
HANDSHAKES = Counter(
    "sagahook_webhook_handshakes_total",
    "Questions of senders before they send; kind is validation or challenge",
    ["source", "kind"],
)
IN_FLIGHT = Gauge("sagahook_ingest_publishing", "Webhooks that wait for Kafka's acknowledgement")
IDEMPOTENCY_KEYS = Gauge("sagahook_ingest_idempotency_keys", "Idempotency-Keys and delivery ids remembered")


_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""


class _OfSource:
    """slots: how many good answers took at most as long as each of _BOUNDS, and longer; each is in one of them."""

    __slots__ = ("accepted", "duplicates", "seconds", "slots")

    def __init__(self) -> None:
        self.accepted = self.duplicates = 0
        self.slots = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them, each with all that are below it."""
        names = [*map(floatToGoString, _BOUNDS), "+Inf"]
        return list(zip(names, map(float, accumulate(self.slots)), strict=True))


class GoodAnswers(Collector):
    """Plain numbers until they are asked for: the client's own counters and histogram took a tenth of a request."""

    def __init__(self) -> None:
        self._by_source: dict[str, _OfSource] = {}

    def count(self, source: str, seconds: float, accepted: int, duplicates: int) -> None:
        kept = self._by_source.get(source)
        if kept is None:
            kept = self._by_source[source] = _OfSource()
        kept.accepted += accepted
        kept.duplicates += duplicates
        kept.slots[bisect_left(_BOUNDS, seconds)] += 1
        kept.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "webhook_events",
            "Webhooks answered well; outcome is accepted, or duplicate for the first answer given again",
            labels=["source", "outcome"],
        )
        durations = HistogramMetricFamily(
            "webhook_processing_duration_seconds",
            "From the request's headers to its good answer",
            labels=["source"],
        )
        for source, kept in self._by_source.items():
            events.add_metric([source, "accepted"], kept.accepted)
            events.add_metric([source, "duplicate"], kept.duplicates)
            durations.add_metric([source], kept.buckets(), kept.seconds)
        yield events
        yield durations


GOOD_ANSWERS = GoodAnswers()
REGISTRY.register(GOOD_ANSWERS)
