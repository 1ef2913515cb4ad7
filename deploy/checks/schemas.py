"""Whether each object is one at all: Kubernetes' own kinds by their published schemas, those of operators by the fields
that make them work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from deploy.checks.manifests import Finding, Manifests, Object, place

KUBERNETES = "1.34.0"
"""The version whose schemas are asked; what is used is in all since 1.31."""

CUSTOM: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("kafka.strimzi.io/v1", "Kafka"): (
        "spec.kafka.listeners",
        "spec.kafka.version",
        "spec.kafka.authorization.type",
        "spec.entityOperator.topicOperator",
        "spec.entityOperator.userOperator",
    ),
    ("kafka.strimzi.io/v1", "KafkaNodePool"): (
        "metadata.labels.strimzi\\.io/cluster",
        "spec.replicas",
        "spec.roles",
        "spec.storage.type",
    ),
    ("kafka.strimzi.io/v1", "KafkaTopic"): (
        "metadata.labels.strimzi\\.io/cluster",
        "spec.partitions",
        "spec.replicas",
    ),
    ("kafka.strimzi.io/v1", "KafkaUser"): (
        "metadata.labels.strimzi\\.io/cluster",
        "spec.authentication.type",
        "spec.authorization.acls",
    ),
    ("postgresql.cnpg.io/v1", "Cluster"): (
        "spec.instances",
        "spec.storage.size",
        "spec.bootstrap.initdb.database",
    ),
    ("postgresql.cnpg.io/v1", "ScheduledBackup"): ("spec.schedule", "spec.cluster.name", "spec.method"),
    ("barmancloud.cnpg.io/v1", "ObjectStore"): ("spec.configuration.destinationPath",),
    ("keda.sh/v1alpha1", "ScaledObject"): (
        "spec.scaleTargetRef.name",
        "spec.triggers",
        "spec.minReplicaCount",
        "spec.maxReplicaCount",
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): ("spec.secretTargetRef",),
    ("monitoring.coreos.com/v1", "PodMonitor"): (
        "spec.selector",
        "spec.podMetricsEndpoints",
        "spec.jobLabel",
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): ("spec.groups",),
    ("cert-manager.io/v1", "Certificate"): ("spec.secretName", "spec.dnsNames", "spec.issuerRef.name"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): ("spec.parentRefs", "spec.hostnames", "spec.rules"),
}
"""API version and kind → the fields that must be there. Their whole schemas belong to their projects; the operators
check them when they are applied."""


def schemas(manifests: Manifests) -> Iterator[Finding]:
    for thing in manifests.objects:
        required = CUSTOM.get((thing["apiVersion"], thing["kind"]))
        yield from _custom(thing, required) if required is not None else _built_in(thing)


def _built_in(thing: Object) -> Iterator[Finding]:
    try:
        validator = _validator(thing["apiVersion"], thing["kind"])
    except FileNotFoundError:
        yield Finding(
            place(thing),
            f"no kind {thing['apiVersion']} {thing['kind']} is known",
            "correct apiVersion and kind, or add them to CUSTOM in deploy/checks/schemas.py",
        )
        return
    for wrong in validator.iter_errors(thing):
        inside = ".".join(str(part) for part in wrong.absolute_path)
        yield Finding(
            f"{place(thing)} {inside}".strip(), wrong.message, "correct it: the API would refuse it"
        )


@cache
def _validator(version: str, kind: str) -> Draft202012Validator:
    """Strict: no field that the kind does not have. As kubernetes_validate.validate has it, which reads all
    definitions again for each object. Raises FileNotFoundError."""
    group, _, name = version.rpartition("/")
    file = "-".join(filter(None, (kind.lower(), group.partition(".")[0], name)))
    return Draft202012Validator(_contents(f"{file}.json"), registry=_definitions())


@cache
def _definitions() -> Registry[Any]:
    return (Resource.from_contents(_contents("_definitions.json")) @ Registry[Any]()).crawl()


def _contents(file: str) -> Any:
    folder = f"kubernetes-json-schema/v{KUBERNETES}-local-strict"
    return json.loads((files("kubernetes_validate") / folder / file).read_text())


def _custom(thing: Object, required: tuple[str, ...]) -> Iterator[Finding]:
    for path in required:
        value: object = thing
        for part in path.replace("\\.", "\0").split("."):
            value = value.get(part.replace("\0", ".")) if isinstance(value, dict) else None
        if value in (None, "", [], {}) and not path.endswith("Operator"):
            yield Finding(f"{place(thing)} {path}", "it is missing", "the operator needs it: say it")
