"""All checks, in the order in which their findings are best read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from deploy.checks.connections import connections
from deploy.checks.environment import environment
from deploy.checks.kafka import kafka
from deploy.checks.manifests import Finding, Manifests
from deploy.checks.pods import pods
from deploy.checks.references import references
from deploy.checks.routing import routing
from deploy.checks.schemas import schemas

Check = Callable[[Manifests], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (schemas, references, pods, environment, routing, connections, kafka)


def findings(manifests: Manifests) -> Iterator[Finding]:
    """Where there is none, the manifests may be applied."""
    for check in CHECKS:
        yield from check(manifests)
