"""Kafka as Strimzi is told: the registry's topics, each service's rights, and no more pods than partitions."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.checks.environment import config_of
from deploy.checks.generated import kafka_topic, kafka_user
from deploy.checks.manifests import Finding, Manifests, Object, place
from deploy.checks.rights import USERS
from deploy.checks.workloads import WORKLOADS
from sagahook.cli.doctor_brokers import OFFSETS_MINUTES
from sagahook_schemas.topics import ALL_TOPICS, DEFAULT_PREFIX

_REGISTRY = "run `make manifests`; what differs from overlay to overlay are partitions and replicas alone"


def kafka(manifests: Manifests) -> Iterator[Finding]:
    if manifests.kind("Kafka"):
        prefix = _prefix(manifests)
        yield from _brokers(manifests)
        yield from _topics(manifests, prefix)
        yield from _users(manifests, prefix)
        yield from _certificates(manifests)
    yield from _scaling(manifests)


def _prefix(manifests: Manifests) -> str:
    """What the pods are told is that of the topics."""
    told = {
        config_of(manifests, pod).get("SAGAHOOK_TOPIC_PREFIX", DEFAULT_PREFIX) for pod in manifests.pods()
    }
    return min(told, default=DEFAULT_PREFIX)


def _brokers(manifests: Manifests) -> Iterator[Finding]:
    """What decides whether anything is lost: as `sagahook doctor --production` has it, as far as there are brokers."""
    brokers = sum(pool["spec"]["replicas"] for pool in manifests.kind("KafkaNodePool"))
    copies, in_sync = (3, 2) if brokers >= 3 else (1, 1)
    largest = max(int(topic.config()["max.message.bytes"]) for topic in ALL_TOPICS)
    least = {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "offsets.retention.minutes": OFFSETS_MINUTES,
        "replica.fetch.max.bytes": largest,
    }
    for cluster in manifests.kind("Kafka"):
        config = cluster["spec"]["kafka"]["config"]
        for key, value in least.items():
            if int(config.get(key, 0)) < value:
                yield Finding(
                    f"{place(cluster)} config {key}", f"it is {config.get(key)}", f"set it to {value} or more"
                )
        for key in ("auto.create.topics.enable", "unclean.leader.election.enable"):
            if config.get(key) != "false":
                yield Finding(
                    f"{place(cluster)} config {key}", f"it is {config.get(key)}", 'set it to "false"'
                )


def _topics(manifests: Manifests, prefix: str) -> Iterator[Finding]:
    wanted = {topic.name(prefix): kafka_topic(topic, prefix) for topic in ALL_TOPICS}
    found = {topic["metadata"]["name"]: topic for topic in manifests.kind("KafkaTopic")}
    for name in sorted(wanted.keys() - found.keys()):
        yield Finding(f"KafkaTopic/{name}", "it is in the registry, but not here", _REGISTRY)
    for name in sorted(found.keys() - wanted.keys()):
        yield Finding(
            f"KafkaTopic/{name}", "it is not in the registry (sagahook_schemas/topics.py)", _REGISTRY
        )
    for name in sorted(found.keys() & wanted.keys()):
        yield from _topic(found[name], wanted[name])
    partitions = {topic["spec"]["partitions"] for topic in found.values()}
    if len(partitions) > 1:
        yield Finding(
            "KafkaTopic",
            f"their numbers of partitions differ ({sorted(partitions)}), and services refuse that",
            "give all the same",
        )


def _topic(found: Object, wanted: Object) -> Iterator[Finding]:
    copies = found["spec"]["replicas"]
    expected = wanted["spec"]["config"] | {"min.insync.replicas": "2" if copies >= 3 else "1"}
    for key in sorted(expected.keys() | found["spec"]["config"].keys()):
        says = found["spec"]["config"].get(key)
        if says != expected.get(key):
            yield Finding(
                f"{place(found)} config {key}",
                f"it is {says}, in the registry {expected.get(key)}",
                _REGISTRY,
            )


def _users(manifests: Manifests, prefix: str) -> Iterator[Finding]:
    for service, name in USERS.items():
        user = manifests.find("KafkaUser", name)
        if user is None:
            yield Finding(f"KafkaUser/{name}", f"{service} has none, and may do nothing", _REGISTRY)
        elif user["spec"] != kafka_user(service, prefix)["spec"]:
            yield Finding(
                place(user),
                f"its rights are not those that {service} needs (deploy/checks/rights.py)",
                _REGISTRY,
            )


def _certificates(manifests: Manifests) -> Iterator[Finding]:
    """Each pod shows the certificate of its own service."""
    service_of = {"cli": "operators"}
    for pod in manifests.pods():
        volumes = [volume for volume in pod.spec.get("volumes", ()) if volume["name"] == "kafka"]
        if not volumes or pod.name not in WORKLOADS:
            continue
        image = WORKLOADS[pod.name].image
        user = USERS[service_of.get(image, image)]
        secrets = {source["secret"]["name"] for source in volumes[0]["projected"]["sources"]}
        if user not in secrets:
            yield Finding(
                f"{pod.where} volume kafka",
                f"it holds {', '.join(sorted(secrets))}",
                f"mount the Secret {user}",
            )


def _scaling(manifests: Manifests) -> Iterator[Finding]:
    partitions = {topic["spec"]["partitions"] for topic in manifests.kind("KafkaTopic")}
    for scaler in manifests.kind("ScaledObject"):
        most = scaler["spec"].get("maxReplicaCount", 100)
        if partitions and most > min(partitions):
            yield Finding(
                f"{place(scaler)} maxReplicaCount",
                f"{most} pods share {min(partitions)} partitions: the others would do nothing",
                f"set it to {min(partitions)}",
            )
        for trigger in scaler["spec"]["triggers"]:
            topic = trigger["metadata"].get("topic")
            if topic is not None and manifests.find("KafkaTopic", topic) is None:
                yield Finding(
                    f"{place(scaler)} topic", f"there is no topic {topic}", "name one of the registry"
                )
