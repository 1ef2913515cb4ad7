"""What steps count, and what the packs built on them count under the same names (api.md §7).

`http_step` notes what GitHub's API answers by itself. A pack that speaks to it through a client of its own calls
`note_github`, and one that gives work to coding agents `note_agent_task`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

GITHUB_REQUESTS = Counter(
    "github_api_requests_total", "Answers of GitHub's API; status is 2xx and the like", ["resource", "status"]
)
GITHUB_REMAINING = Gauge(
    "github_api_rate_limit_remaining",
    "Requests that GitHub's API takes until its limit is reset, by its last answer to this process",
    ["resource"],
)
GITHUB_RESET = Gauge(
    "sagahook_github_rate_limit_reset_timestamp_seconds",
    "When that limit is reset, seconds since the epoch",
    ["resource"],
)
AGENT_TASKS = Counter(
    "codegen_agent_tasks_total",
    "Tasks of coding agents; status is started, completed or failed",
    ["status"],
)

_RESOURCES = frozenset(
    [
        "core",
        "search",
        "code_search",
        "graphql",
        "integration_manifest",
        "dependency_snapshots",
        "dependency_sbom",
        "code_scanning_upload",
        "code_scanning_autofix",
        "actions_runner_registration",
        "source_import",
        "audit_log",
        "audit_log_streaming",
        "scim",
    ]
)
"""What GitHub limits apart (its GET /rate_limit). The name comes from outside, so any other one is `other`."""

_SHOWN = 50


def note_github(status: int, headers: Mapping[str, str]) -> None:
    """Count an answer, where GitHub gave it, and keep what it says of its limit. headers: of the answer, names in
    lower case or without regard to it."""
    if "x-github-request-id" not in headers:
        return
    named = headers.get("x-ratelimit-resource", "other")
    resource = named if named in _RESOURCES else "other"
    GITHUB_REQUESTS.labels(resource, f"{status // 100}xx").inc()
    for gauge, header in ((GITHUB_REMAINING, "x-ratelimit-remaining"), (GITHUB_RESET, "x-ratelimit-reset")):
        number = headers.get(header, "")
        if number.isascii() and number.isdigit() and len(number) <= 12:
            gauge.labels(resource).set(int(number))


def note_agent_task(status: Literal["started", "completed", "failed"]) -> None:
    AGENT_TASKS.labels(status).inc()


class OpenCircuits(Collector):
    """The hosts that http steps leave alone, as many as fit a bounded label; a host that is well has no sample.

    hosts: asked at each scrape."""

    def __init__(self) -> None:
        self.hosts: Callable[[], Iterable[str]] = tuple

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sagahook_step_circuit_open",
            f"1 for each host that http steps leave alone because it kept failing, {_SHOWN} at most",
            labels=["host"],
        )
        for host in islice(sorted(self.hosts()), _SHOWN):
            family.add_metric([host], 1)
        yield family


CIRCUITS = OpenCircuits()
REGISTRY.register(CIRCUITS)
