"""The manifests that are made from something else: `python -m deploy.checks write` makes them anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from deploy.checks.manifests import Object
from deploy.checks.rights import USERS, Right, merged, rights
from sagahook_schemas.topics import ALL_TOPICS, DEFAULT_PREFIX, Topic

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yaml"

CLUSTER = {"strimzi.io/cluster": "sagahook"}
PARTITIONS = 12
"""Of the component; an overlay may say another number, for all of them."""
COPIES = 3


def generated() -> dict[Path, str]:
    """What each generated file must hold."""
    made: dict[str, Callable[[], str]] = {
        "components/strimzi/topics.yaml": topics,
        "components/strimzi/users.yaml": users,
        "components/monitoring/prometheus-rule.yaml": prometheus_rule,
    }
    return {K8S / path: make() for path, make in made.items()}


def topics() -> str:
    return _file("sagahook_schemas/topics.py", (kafka_topic(topic) for topic in ALL_TOPICS))


def kafka_topic(topic: Topic, prefix: str = DEFAULT_PREFIX) -> Object:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name(prefix), "labels": dict(CLUSTER)},
        "spec": {
            "partitions": PARTITIONS,
            "replicas": COPIES,
            # With three copies, `acks=all` means that two brokers have the record: one may then be lost.
            "config": topic.config() | {"min.insync.replicas": "2"},
        },
    }


def users() -> str:
    return _file(
        "sagahook_schemas/topics.py and the services' settings", map(kafka_user, USERS), leaves_in_line=True
    )


def kafka_user(service: str, prefix: str = DEFAULT_PREFIX) -> Object:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": USERS[service], "labels": dict(CLUSTER)},
        "spec": {
            "authentication": {"type": "tls"},
            "authorization": {
                "type": "simple",
                "acls": [_acl(right) for right in merged(rights(service, prefix))],
            },
        },
    }


def _acl(right: Right) -> Object:
    if right.resource == "cluster":
        return {"resource": {"type": "cluster"}, "operations": list(right.operations)}
    pattern = "prefix" if right.prefix else "literal"
    return {
        "resource": {"type": right.resource, "name": right.name, "patternType": pattern},
        "operations": list(right.operations),
    }


def prometheus_rule() -> str:
    """The plain rule file that promtool tests, as the Prometheus operator takes it."""
    rules = yaml.load(ALERTS.read_text(), Loader=yaml.CSafeLoader)
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sagahook"},
        "spec": {"groups": rules["groups"]},
    }
    return _file("deploy/monitoring/alerts.yaml", [rule])


def _file(source: str, objects: Iterable[Object], *, leaves_in_line: bool = False) -> str:
    head = f"# Generated from {source} by `make manifests`; changes here are lost.\n"
    return head + "---\n".join(_text(each, leaves_in_line) for each in objects)


def _text(thing: Object, leaves_in_line: bool) -> str:
    """leaves_in_line: `resource: {type: topic, name: …}` takes one."""
    style = None if leaves_in_line else False
    text: str = yaml.dump(
        thing,
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
        default_flow_style=style,
        width=110,
        allow_unicode=True,
    )
    return text
