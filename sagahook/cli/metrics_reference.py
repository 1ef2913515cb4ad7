"""The reference of every metric, made from the declarations themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

EMPTY = {
    "webhook_errors_total": "until a webhook is refused",
    "sagahook_webhook_signature_failures_total": "until a signature is wrong",
    "sagahook_webhook_handshakes_total": "until a sender asks before it sends",
    "sagahook_http_refused_total": "until a request is cut or refused by the HTTP protocol",
    "sagahook_operator_acts_total": "until an operator acts",
    "sagahook_tracker_dead_letters_total": "until a record cannot be projected",
    "workflow_task_retries_total": "until a step is tried again",
    "sagahook_step_circuit_open": "while no host is left alone",
    "github_api_requests_total": "until a step calls GitHub's API",
    "github_api_rate_limit_remaining": "until a step calls GitHub's API",
    "sagahook_github_rate_limit_reset_timestamp_seconds": "until a step calls GitHub's API",
    "codegen_agent_tasks_total": "until a pack gives work to a coding agent",
}
"""What a healthy system has no samples of, and why. Of everything else a scrape after the first webhook has some."""

_HEAD = """\
# Metrics

`GET /metrics` of every process, on its only HTTP port, in Prometheus' text format. `make schemas` makes this page from
the declarations. Names of the HTTP contract (`webhook_…`, `workflow_…`, `queue_size`, `github_…`, `codegen_…`) stay as
they are; all others begin with `sagahook_`. Beside them are those of Prometheus' client: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_open_fds`, `python_gc_…`.

- **Labels are bounded**: by what is configured (sources), deployed (saga types), or listed in the code. Nothing that
  senders, receivers or other hosts say becomes a label: a source that does not exist is `unknown`, a limit that GitHub
  does not have `other`. No id, key or secret is one.
- **Counters count what this process did** since it started: add them up over replicas, `sum(rate(…))`. The tracker
  counts sagas as it projects them, once, whichever replica does; on an empty database it counts their history again.
- **What several replicas see alike**, each of them tells (`sagahook_stuck_sagas`, `sagahook_dead_letters`,
  `sagahook_notifier_endpoints` …): take the `max`.
- **Lag is asked of Kafka**, every 5 s, by each reader for the partitions that it reads: one that is full, or waits for
  its database, tells the truth. Of a partition that nobody reads there is no sample; for that there are the alerts
  `SagahookServiceDown`, `SagahookPartitionsUnowned` and `SagahookWebhooksUnrouted`.
- **Jobs** are called what the [alerts](../../deploy/monitoring/alerts.yaml) and
  dashboards in `deploy/monitoring/dashboards` expect: `sagahook-ingest`, `sagahook-runner`, `sagahook-tracker-api`,
  `sagahook-tracker` (the projector), `sagahook-notifier-api`, `sagahook-notifier`.

What to do about each alert: [runbooks](../operating/runbooks.md). Why it is so:
[0022](../decisions/0022-metrics-and-alerts.md).
"""

_EMPTY_HEAD = """
## Empty in a healthy system

A counter with labels has no sample before the first of its kind. An expression over these may be empty, and that is
well:

| metric | has none |
|---|---|
"""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric as it is exposed. labels: without a histogram's `le`."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.type != "histogram":
            return (self.name,)
        return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_sum", "_count"))


def declared() -> dict[str, list[Family]]:
    """Every metric, by the title of its section."""
    from sagahook.runtime import metrics as shared
    from sagahook.saga import metrics as steps
    from sagahook_ingest import metrics as ingest
    from sagahook_notifier import metrics as notifier
    from sagahook_runner import metrics as runner
    from sagahook_tracker import metrics as tracker

    modules = {
        "Every service, where it has the like": shared,
        "ingest": ingest,
        "saga-runner": runner,
        "Steps and packs (in saga-runner)": steps,
        "tracker": tracker,
        "notifier": notifier,
    }
    return {title: list(_families(module)) for title, module in modules.items()}


def metrics_reference() -> str:
    parts = [_HEAD]
    for title, families in declared().items():
        rows = "\n".join(map(_row, families))
        parts.append(f"\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n{rows}\n")
    empty = "\n".join(f"| `{name}` | {why} |" for name, why in EMPTY.items())
    return "".join(parts) + _EMPTY_HEAD + f"{empty}\n"


def _families(module: ModuleType) -> Iterator[Family]:
    for value in vars(module).values():
        if Collector not in type(value).__mro__ or isinstance(value, CollectorRegistry):
            continue
        # A declared metric has its own labels; what is collected has those of its family, be there samples or not.
        described = value.describe() if isinstance(value, MetricWrapperBase) else value.collect()
        for metric in described:
            labels = value if isinstance(value, MetricWrapperBase) else metric
            yield _family(metric, tuple(labels._labelnames))  # type: ignore[union-attr]  # it has no public name


def _family(metric: Metric, labels: tuple[str, ...]) -> Family:
    suffix = "_total" if metric.type == "counter" else ""
    return Family(f"{metric.name}{suffix}", metric.type, labels, metric.documentation)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.type} | {labels} | {family.help} |"
