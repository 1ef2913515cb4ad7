"""The metrics that several services have, each declared here and nowhere else (api.md §7, docs/reference/metrics.md).

One process may hold several services; what speaks of one of them has the label `service`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

from aiokafka import TopicPartition
from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

READY = Gauge(
    "sagahook_ready", "Whether the service can do its work, as its /readyz says: 1 or 0", ["service"]
)
HEALTH = Gauge(
    "sagahook_health",
    "What each check of /health says: 0 is healthy, 1 degraded, 2 unhealthy",
    ["check"],
)
DATABASE_CONNECTIONS = Gauge("database_connections_active", "Connections to PostgreSQL in use", ["service"])
DATABASE_CONNECTIONS_LIMIT = Gauge(
    "sagahook_database_connections_limit", "Connections to PostgreSQL that there may be at most", ["service"]
)
OPERATOR_ACTS = Counter("sagahook_operator_acts_total", "What operators asked for", ["action", "outcome"])
HTTP_REFUSED = Counter(
    "sagahook_http_refused_total", "Requests cut or refused before any route saw them", ["reason"]
)
HTTP_CONNECTIONS = Gauge("sagahook_http_connections", "Open HTTP connections, counted once a second")
SOURCE_READS = Counter(
    "sagahook_source_configuration_reads_total",
    "Readings of the configuration of sources; outcome is used, unchanged, or broken, and then the one before stays",
    ["outcome"],
)
SOURCES_BROKEN = Gauge(
    "sagahook_sources_broken",
    "1 while the configuration of sources cannot be used and the one before stays in force, else 0",
)


class Pool(Protocol):
    """asyncpg's."""

    def get_size(self) -> int: ...

    def get_idle_size(self) -> int: ...

    def get_max_size(self) -> int: ...


_readiness: dict[str, Callable[[], Awaitable[bool]]] = {}


def watch_ready(service: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
    """is_ready: as the service's probe has it; asked at each scrape."""
    _readiness[service] = is_ready


async def tell_ready() -> None:
    """What the services of this process say now."""
    for service, is_ready in _readiness.items():
        READY.labels(service).set(await is_ready())


def watch_pool(service: str, pool: Pool) -> None:
    """Asked for at each scrape."""
    DATABASE_CONNECTIONS.labels(service).set_function(lambda: pool.get_size() - pool.get_idle_size())
    DATABASE_CONNECTIONS_LIMIT.labels(service).set(pool.get_max_size())


class Lags(Collector):
    """How far this process's readers are behind (sagahook.runtime.lag), under three names."""

    def __init__(self) -> None:
        self._by_group: dict[str, Mapping[TopicPartition, int]] = {}

    def tell(self, group: str, lags: Mapping[TopicPartition, int]) -> None:
        """lags: records, of the partitions that this process reads at the moment."""
        self._by_group[group] = lags

    def knows(self, group: str) -> bool:
        """Whether there is anything to tell of it."""
        return bool(self._by_group.get(group))

    def forget(self, group: str) -> None:
        self._by_group.pop(group, None)

    def collect(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "sagahook_kafka_lag_records",
            "Records that are readable and were not taken up yet, of the partitions that this process reads",
            labels=["group", "topic", "partition"],
        )
        by_topic: defaultdict[str, int] = defaultdict(int)
        for group, lags in self._by_group.items():
            for place, records in lags.items():
                lag.add_metric([group, place.topic, str(place.partition)], records)
                by_topic[place.topic] += records
        queue = GaugeMetricFamily(
            "queue_size", "sagahook_kafka_lag_records of all partitions of a topic", labels=["topic"]
        )
        alias = GaugeMetricFamily(
            "celery_queue_size", "queue_size, under the name that older dashboards use", labels=["topic"]
        )
        for topic, records in by_topic.items():
            queue.add_metric([topic], records)
            alias.add_metric([topic], records)
        yield lag
        yield queue
        yield alias


LAGS = Lags()
REGISTRY.register(LAGS)
