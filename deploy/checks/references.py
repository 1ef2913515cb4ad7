"""What points at something else by name or label: Services, budgets, autoscalers, monitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from deploy.checks.manifests import Finding, Manifests, Object, Pod, place, selects
from deploy.checks.workloads import WORKLOADS


def references(manifests: Manifests) -> Iterator[Finding]:
    pods = list(manifests.pods())
    yield from _twice(manifests)
    yield from _deployments(manifests)
    yield from _services(manifests, pods)
    yield from _budgets(manifests, pods)
    yield from _autoscalers(manifests)
    yield from _monitors(manifests, pods)


def _twice(manifests: Manifests) -> Iterator[Finding]:
    for where, count in Counter(map(place, manifests.objects)).items():
        if count > 1:
            yield Finding(where, f"it is there {count} times, and the last one wins", "keep one")


def _deployments(manifests: Manifests) -> Iterator[Finding]:
    for deployment in manifests.kind("Deployment"):
        selector = deployment["spec"]["selector"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        if not selects(selector, labels):
            yield Finding(
                f"{place(deployment)} selector",
                f"{selector} does not select its own pods, labelled {labels}",
                "make the labels of spec.selector and spec.template the same",
            )
        others = [
            other
            for other in manifests.kind("Deployment", "Job")
            if other is not deployment and selects(selector, other["spec"]["template"]["metadata"]["labels"])
        ]
        for other in others:
            yield Finding(
                f"{place(deployment)} selector",
                f"it selects the pods of {place(other)} too",
                "select by a label that no other has",
            )


def _services(manifests: Manifests, pods: list[Pod]) -> Iterator[Finding]:
    for service in manifests.kind("Service"):
        behind = [pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        if len(behind) != 1:
            yield Finding(
                f"{place(service)} selector",
                f"it selects the pods of {len(behind)} workloads",
                "select those of one, by app.kubernetes.io/name",
            )
        for pod in behind:
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in (*pod.ports, *pod.ports.values()):
                    yield Finding(
                        f"{place(service)} targetPort",
                        f"the pods of {pod.name} have no port {target}",
                        f"name one of {', '.join(pod.ports)}",
                    )


def _budgets(manifests: Manifests, pods: list[Pod]) -> Iterator[Finding]:
    covered = []
    for budget in manifests.kind("PodDisruptionBudget"):
        behind = [pod for pod in pods if selects(budget["spec"]["selector"], pod.labels)]
        covered += [pod.name for pod in behind]
        if not behind:
            yield Finding(
                f"{place(budget)} selector", "it selects no pods, and protects nothing", "select a workload's"
            )
        if budget["spec"].get("maxUnavailable") == 0 or budget["spec"].get("minAvailable") == "100%":
            yield Finding(place(budget), "no node could ever be drained", "allow one pod to be away")
    for deployment in manifests.kind("Deployment"):
        if deployment["metadata"]["name"] not in covered:
            yield Finding(
                place(deployment), "a drained node may take all its pods", "add a PodDisruptionBudget"
            )


def _autoscalers(manifests: Manifests) -> Iterator[Finding]:
    scalers: dict[str, list[Object]] = {}
    for scaler in manifests.kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        scalers.setdefault(target, []).append(scaler)
        deployment = manifests.find("Deployment", target)
        if deployment is None:
            yield Finding(f"{place(scaler)} scaleTargetRef", f"there is no Deployment {target}", "correct it")
        elif "replicas" in deployment["spec"]:
            yield Finding(
                f"{place(deployment)} replicas",
                f"each time it is applied it undoes what {place(scaler)} has done",
                "leave replicas out",
            )
    for target, found in scalers.items():
        if len(found) > 1:
            yield Finding(
                f"Deployment/{target}", f"{' and '.join(map(place, found))} both scale it", "keep one of them"
            )


def _monitors(manifests: Manifests, pods: list[Pod]) -> Iterator[Finding]:
    monitors = manifests.kind("PodMonitor")
    watched = set()
    for monitor in monitors:
        for pod in pods:
            if selects(monitor["spec"]["selector"], pod.labels):
                watched.add(pod.name)
                yield from _endpoints(monitor, pod)
    for pod in pods if monitors else ():
        served = WORKLOADS.get(pod.name)
        if served is not None and served.serves is not None and pod.name not in watched:
            yield Finding(
                pod.where, "no PodMonitor selects its pods, so nobody would see it fail", "select them"
            )


def _endpoints(monitor: Object, pod: Pod) -> Iterator[Finding]:
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        if endpoint["port"] not in pod.ports:
            yield Finding(
                f"{place(monitor)} port", f"{pod.name} has no port {endpoint['port']}", "name the port http"
            )
        if pod.name in WORKLOADS and endpoint["path"] not in WORKLOADS[pod.name].routes:
            yield Finding(
                f"{place(monitor)} path", f"{pod.name} has no route {endpoint['path']}", "ask for /metrics"
            )
