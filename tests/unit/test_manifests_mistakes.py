"""Each mistake that somebody could make in the manifests is found, and said where it is and what to do."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest

from deploy.checks.manifests import Manifests, Object
from deploy.checks.rendering import rendered
from deploy.checks.rules import findings

Seed = Callable[[Manifests], None]


@cache
def _correct(overlay: str) -> Manifests:
    return rendered(overlay)


def is_found(said: str, seed: Seed, overlay: str = "prod") -> bool:
    """Whether the checks say that of an overlay with this mistake in it."""
    manifests = Manifests(deepcopy(_correct(overlay).objects))
    seed(manifests)
    return any(said in str(each) for each in findings(manifests))


def get(manifests: Manifests, kind: str, name: str) -> Object:
    thing = manifests.find(kind, name)
    assert thing is not None
    return thing


def pod(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    spec: Object = get(manifests, kind, name)["spec"]["template"]["spec"]
    return spec


def container(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    first: Object = pod(manifests, name, kind)["containers"][0]
    return first


def config(manifests: Manifests, begins: str) -> dict[str, str]:
    data: dict[str, str] = next(
        each for each in manifests.kind("ConfigMap") if each["metadata"]["name"].startswith(begins)
    )["data"]
    return data


MISTAKES: dict[str, tuple[Seed, str]] = {}
"""By what it is: how it is made, and what is to be said of it."""


def mistake(said: str) -> Callable[[Seed], Seed]:
    def keep(seed: Seed) -> Seed:
        MISTAKES[seed.__name__.replace("_", " ")] = seed, said
        return seed

    return keep


@mistake("Service/sagahook-ingest selector: it selects the pods of 0 workloads")
def a_service_that_selects_no_pods(manifests: Manifests) -> None:
    get(manifests, "Service", "sagahook-ingest")["spec"]["selector"] = {"app.kubernetes.io/name": "ingest"}


@mistake(
    "Deployment/sagahook-runner selector: {'matchLabels': {'app': 'runner'}} does not select its own pods"
)
def a_deployment_that_does_not_select_its_own_pods(manifests: Manifests) -> None:
    get(manifests, "Deployment", "sagahook-runner")["spec"]["selector"] = {"matchLabels": {"app": "runner"}}


@mistake("container service readinessProbe: the process has no route /ready: ask for /readyz")
def a_probe_of_a_path_that_is_not_served(manifests: Manifests) -> None:
    container(manifests, "sagahook-tracker-api")["readinessProbe"]["httpGet"]["path"] = "/ready"


@mistake("livenessProbe: /health answers another question: ask for /livez")
def a_liveness_that_depends_on_kafka(manifests: Manifests) -> None:
    container(manifests, "sagahook-ingest")["livenessProbe"]["httpGet"]["path"] = "/health"


@mistake("container service startupProbe: there is none")
def no_startup_probe(manifests: Manifests) -> None:
    del container(manifests, "sagahook-runner")["startupProbe"]


@mistake("readinessProbe: the pod has no port web: it has http (8080)")
def a_probe_of_a_port_that_is_not_there(manifests: Manifests) -> None:
    container(manifests, "sagahook-notifier")["readinessProbe"]["httpGet"]["port"] = "web"


@mistake("port http: it is 9090, but SAGAHOOK_HTTP_PORT is 8080")
def a_port_on_which_nothing_listens(manifests: Manifests) -> None:
    container(manifests, "sagahook-ingest")["ports"][0]["containerPort"] = 9090


@mistake("Service/sagahook-tracker-api targetPort: the pods of sagahook-tracker-api have no port web")
def a_service_to_a_port_that_is_not_there(manifests: Manifests) -> None:
    get(manifests, "Service", "sagahook-tracker-api")["spec"]["ports"][0]["targetPort"] = "web"


@mistake("env SAGAHOOK_MAX_INFLIGHT: sagahook-ingest has no such setting, and would ignore it")
def a_setting_that_does_not_exist(manifests: Manifests) -> None:
    container(manifests, "sagahook-ingest")["env"].append({"name": "SAGAHOOK_MAX_INFLIGHT", "value": "10"})


@mistake("Deployment/sagahook-tracker container service: it would not start: SAGAHOOK_KEEP_AUDIT")
def a_setting_with_a_value_that_is_refused(manifests: Manifests) -> None:
    container(manifests, "sagahook-tracker")["env"].append({"name": "SAGAHOOK_KEEP_AUDIT", "value": "a year"})


@mistake("Deployment/sagahook-runner container service: it would not start: SAGAHOOK_APP")
def a_required_setting_that_is_missing(manifests: Manifests) -> None:
    del config(manifests, "sagahook-runner-config")["SAGAHOOK_APP"]


@mistake("env SECRET_KEY: sagahook-secret-key has no key key, so the pod would not start: it has secret-key")
def a_key_that_the_secret_has_not(manifests: Manifests) -> None:
    container(manifests, "sagahook-notifier")["env"] = [
        {"name": "SECRET_KEY", "valueFrom": {"secretKeyRef": {"name": "sagahook-secret-key", "key": "key"}}}
    ]


@mistake("volume kafka: nobody makes the Secret sagahook-ingest-cert")
def a_secret_that_nobody_makes(manifests: Manifests) -> None:
    volume = next(each for each in pod(manifests, "sagahook-ingest")["volumes"] if each["name"] == "kafka")
    volume["projected"]["sources"][1]["secret"]["name"] = "sagahook-ingest-cert"


@mistake("envFrom: there is no ConfigMap sagahook-config")
def a_config_map_that_is_not_there(manifests: Manifests) -> None:
    container(manifests, "sagahook-ingest")["envFrom"][0]["configMapRef"]["name"] = "sagahook-config"


@mistake("securityContext.privileged: it is True, and the namespace is restricted: remove it")
def a_privileged_container(manifests: Manifests) -> None:
    container(manifests, "sagahook-runner")["securityContext"]["privileged"] = True


@mistake("securityContext.readOnlyRootFilesystem: it is None")
def a_root_that_can_be_written_to(manifests: Manifests) -> None:
    del container(manifests, "sagahook-migrate", "Job")["securityContext"]["readOnlyRootFilesystem"]


@mistake(
    "Deployment/sagahook-notifier-api enableServiceLinks: a Service's name could set a SAGAHOOK_… variable"
)
def service_links(manifests: Manifests) -> None:
    del pod(manifests, "sagahook-notifier-api")["enableServiceLinks"]


@mistake("terminationGracePeriodSeconds: 45 s, but by its settings it may take 77 s to stop in order")
def a_grace_shorter_than_the_drain(manifests: Manifests) -> None:
    config(manifests, "sagahook-runner-config")["SAGAHOOK_DRAIN"] = "60"


@mistake("PodDisruptionBudget/sagahook-tracker selector: it selects no pods, and protects nothing")
def a_budget_that_protects_nothing(manifests: Manifests) -> None:
    budget = get(manifests, "PodDisruptionBudget", "sagahook-tracker")
    budget["spec"]["selector"]["matchLabels"] = {"app.kubernetes.io/name": "sagahook-projector"}


@mistake("PodDisruptionBudget/sagahook-ingest: no node could ever be drained")
def a_budget_that_forbids_every_eviction(manifests: Manifests) -> None:
    get(manifests, "PodDisruptionBudget", "sagahook-ingest")["spec"]["maxUnavailable"] = 0


@mistake("path /api/v1/endpoints: there is no Service sagahook-notifier")
def an_ingress_to_a_service_that_is_not_there(manifests: Manifests) -> None:
    path = next(
        each
        for each in get(manifests, "Ingress", "sagahook")["spec"]["rules"][0]["http"]["paths"]
        if each["path"] == "/api/v1/endpoints"
    )
    path["backend"]["service"]["name"] = "sagahook-notifier"


@mistake("GET /webhooks/x1/status/x1: it is sagahook-tracker-api's, but goes to sagahook-ingest")
def a_status_that_ends_at_ingest(manifests: Manifests) -> None:
    manifests.objects.remove(get(manifests, "Ingress", "sagahook-status"))


@mistake("GET /metrics: everybody outside would reach it")
def metrics_for_everybody(manifests: Manifests) -> None:
    paths = get(manifests, "Ingress", "sagahook")["spec"]["rules"][0]["http"]["paths"]
    paths.append({**paths[0], "path": "/"})


@mistake("image registry.example.com/sagahook/ingest:latest: which version runs is left to chance")
def the_latest_image(manifests: Manifests) -> None:
    container(manifests, "sagahook-ingest")["image"] = "registry.example.com/sagahook/ingest:latest"


@mistake("image sagahook/tracker:0.1.0: sagahook-notifier runs in the image notifier")
def the_image_of_another_service(manifests: Manifests) -> None:
    container(manifests, "sagahook-notifier")["image"] = "sagahook/tracker:0.1.0"


@mistake("args: they are ['dispatch']: begin with ['run']")
def a_command_that_the_service_has_not(manifests: Manifests) -> None:
    container(manifests, "sagahook-notifier")["args"] = ["dispatch"]


@mistake("KafkaTopic/sagahook.webhooks.recieved: it is not in the registry")
def a_topic_that_is_not_in_the_registry(manifests: Manifests) -> None:
    get(manifests, "KafkaTopic", "sagahook.webhooks.received")["metadata"]["name"] = (
        "sagahook.webhooks.recieved"
    )


@mistake("KafkaTopic/sagahook.saga.events config retention.ms: it is 604800000, in the registry -1")
def a_log_that_is_deleted_after_a_week(manifests: Manifests) -> None:
    get(manifests, "KafkaTopic", "sagahook.saga.events")["spec"]["config"]["retention.ms"] = "604800000"


@mistake("Kafka/sagahook config transaction.state.log.min.isr: it is 1: set it to 2 or more")
def transactions_on_one_broker(manifests: Manifests) -> None:
    get(manifests, "Kafka", "sagahook")["spec"]["kafka"]["config"]["transaction.state.log.min.isr"] = 1


@mistake("KafkaTopic: their numbers of partitions differ ([6, 12]), and services refuse that")
def partitions_that_differ(manifests: Manifests) -> None:
    get(manifests, "KafkaTopic", "sagahook.saga.state")["spec"]["partitions"] = 6


@mistake("KafkaUser/sagahook-notifier: its rights are not those that notifier needs")
def a_service_that_may_write_everything(manifests: Manifests) -> None:
    acls = get(manifests, "KafkaUser", "sagahook-notifier")["spec"]["authorization"]["acls"]
    acls[0]["operations"].append("Write")


@mistake("volume kafka: it holds sagahook-cluster-ca-cert, sagahook-runner: mount the Secret sagahook-ingest")
def a_service_with_the_rights_of_another(manifests: Manifests) -> None:
    volume = next(each for each in pod(manifests, "sagahook-ingest")["volumes"] if each["name"] == "kafka")
    volume["projected"]["sources"][1]["secret"]["name"] = "sagahook-runner"


@mistake("ScaledObject/sagahook-runner maxReplicaCount: 20 pods share 12 partitions")
def more_pods_than_partitions(manifests: Manifests) -> None:
    get(manifests, "ScaledObject", "sagahook-runner")["spec"]["maxReplicaCount"] = 20


@mistake("Deployment/sagahook-ingest replicas: each time it is applied it undoes what Horizontal")
def replicas_beside_an_autoscaler(manifests: Manifests) -> None:
    get(manifests, "Deployment", "sagahook-ingest")["spec"]["replicas"] = 2


@mistake("HorizontalPodAutoscaler/sagahook-ingest scaleTargetRef: there is no Deployment ingest")
def an_autoscaler_of_nothing(manifests: Manifests) -> None:
    scaler = get(manifests, "HorizontalPodAutoscaler", "sagahook-ingest")
    scaler["spec"]["scaleTargetRef"]["name"] = "ingest"


@mistake("NetworkPolicy: sagahook-notifier → a private address:443: it is open, though nothing needs it")
def a_notifier_that_reaches_private_addresses(manifests: Manifests) -> None:
    policy = get(manifests, "NetworkPolicy", "notifier-to-receivers")
    policy["spec"]["egress"][0]["to"][0]["ipBlock"]["except"].remove("10.0.0.0/8")


@mistake("NetworkPolicy: sagahook-runner → Kafka:9093: it is closed, but needed")
def a_runner_that_does_not_reach_kafka(manifests: Manifests) -> None:
    policy = get(manifests, "NetworkPolicy", "to-kafka")
    policy["spec"]["podSelector"]["matchExpressions"][0]["values"].remove("sagahook-runner")


@mistake("NetworkPolicy: Prometheus → sagahook-notifier:8080: it is closed, but needed")
def a_prometheus_that_reaches_nobody(manifests: Manifests) -> None:
    manifests.objects.remove(get(manifests, "NetworkPolicy", "from-prometheus"))


@mistake("NetworkPolicy: what no policy selects may do anything")
def no_default_deny(manifests: Manifests) -> None:
    manifests.objects.remove(get(manifests, "NetworkPolicy", "default-deny"))


@mistake("PodDisruptionBudget/sagahook-ingest spec: Additional properties are not allowed ('maxUnavailible'")
def a_misspelt_field(manifests: Manifests) -> None:
    budget = get(manifests, "PodDisruptionBudget", "sagahook-ingest")
    budget["spec"]["maxUnavailible"] = budget["spec"].pop("maxUnavailable")


@mistake("no kind extensions/v1beta1 Ingress is known")
def a_version_that_is_gone(manifests: Manifests) -> None:
    get(manifests, "Ingress", "sagahook")["apiVersion"] = "extensions/v1beta1"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str) -> None:
    seed, said = MISTAKES[name]
    assert is_found(said, seed)


def test_a_route_by_method_is_looked_at_as_well() -> None:
    def seed(manifests: Manifests) -> None:
        rules: list[Any] = get(manifests, "HTTPRoute", "sagahook")["spec"]["rules"]
        rules[0]["matches"] = [each for each in rules[0]["matches"] if each["method"] == "OPTIONS"]

    said = "POST /webhooks/x1: it is sagahook-ingest's, but goes to sagahook-tracker-api"
    assert is_found(said, seed, "managed")
