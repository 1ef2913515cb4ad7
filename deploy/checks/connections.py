"""Which connections each workload needs, by what it is; and whether the NetworkPolicies allow those and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from deploy.checks.environment import config_of
from deploy.checks.manifests import NAME, Finding, Manifests, Object, Pod
from deploy.checks.network import NAMESPACE, Network, Place
from deploy.checks.workloads import WORKLOADS

PUBLIC = Place("a public address", ip="93.184.215.14")
PRIVATE = (
    Place("a private address", ip="10.96.0.1"),
    Place("a private address", ip="192.168.1.10"),
    Place("the cloud's metadata", ip="169.254.169.254"),
    Place("a private IPv6 address", ip="fd00::1"),
)
DNS = Place("DNS", "kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = {NAME: "prometheus"}
_SENDS = "sagahook-notifier"
"""Whose work it is to reach the world."""

_STEPS = "sagahook-runner"
"""Whose steps call what their authors want: an overlay says what that is."""

_CONFINE = "correct network-policies.yaml, or the component's or overlay's policy"


@dataclass(frozen=True, slots=True)
class Way:
    target: Place
    port: int


def connections(manifests: Manifests) -> Iterator[Finding]:
    """Each way that could be, and whether it is open exactly where it is needed."""
    namespace = manifests.kind("Namespace")[0]["metadata"]["name"]
    network = Network([*manifests.kind("NetworkPolicy"), *_of_strimzi(manifests)], namespace)
    if not any(_denies_all(policy) for policy in manifests.kind("NetworkPolicy")):
        yield Finding(
            "NetworkPolicy", "what no policy selects may do anything", "add default-deny to the base"
        )
    pods = {pod.name: _place(pod, namespace) for pod in manifests.pods()}
    for pod in manifests.pods():
        if pod.name not in WORKLOADS:
            continue
        source, needs = pods[pod.name], list(_needs(manifests, pod, namespace))
        for way in needs:
            if not network.allows(source, way.target, way.port):
                yield _closed(pod.name, way)
        if not network.allows(source, DNS, 53, "UDP"):
            yield _closed(pod.name, Way(DNS, 53))
        for way in _could(manifests, pods, pod.name, namespace):
            if way not in needs and network.allows(source, way.target, way.port):
                yield Finding(
                    f"NetworkPolicy: {pod.name} → {way.target.name}:{way.port}",
                    "it is open, though nothing needs it",
                    _CONFINE,
                )
    yield from _inbound(manifests, network, pods)


def _denies_all(policy: Object) -> bool:
    return bool(policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def _of_strimzi(manifests: Manifests) -> Iterator[Object]:
    """The policies that Strimzi makes of the listeners."""
    for cluster in manifests.kind("Kafka"):
        name = cluster["metadata"]["name"]
        for listener in cluster["spec"]["kafka"]["listeners"]:
            rule = {"from": listener.get("networkPolicyPeers", []), "ports": [{"port": listener["port"]}]}
            yield {
                "kind": "NetworkPolicy",
                "metadata": {"name": f"{name}-network-policy-kafka"},
                "spec": {
                    "podSelector": {"matchLabels": {"strimzi.io/name": f"{name}-kafka"}},
                    "policyTypes": ["Ingress"],
                    "ingress": [rule],
                },
            }


def _closed(name: str, way: Way) -> Finding:
    return Finding(
        f"NetworkPolicy: {name} → {way.target.name}:{way.port}", "it is closed, but needed", _CONFINE
    )


def _place(pod: Pod, namespace: str) -> Place:
    return Place(pod.name, namespace, pod.labels, ports=pod.ports)


def _needs(manifests: Manifests, pod: Pod, namespace: str) -> Iterator[Way]:
    workload = WORKLOADS[pod.name]
    if pod.name != "sagahook-migrate":
        yield kafka(manifests, namespace)
    if workload.uses_postgres:
        yield postgres(manifests, namespace)
    if (way := _collector(manifests, pod)) and workload.serves is not None:
        yield way
    if pod.name == _SENDS:
        yield Way(PUBLIC, 443)


def _could(manifests: Manifests, pods: dict[str, Place], name: str, namespace: str) -> Iterator[Way]:
    """What a pod might reach, and mostly must not."""
    yield kafka(manifests, namespace)
    yield postgres(manifests, namespace)
    for other, place in pods.items():
        if other != name:
            yield Way(place, 8080)
    for port in (80, 443):
        yield from (Way(address, port) for address in PRIVATE)
        if name != _STEPS:
            yield Way(PUBLIC, port)


def kafka(manifests: Manifests, namespace: str) -> Way:
    """In this namespace where Strimzi makes it; else where the policy says, because no name says an address."""
    clusters = manifests.kind("Kafka")
    if not clusters:
        return _outside(manifests, "to-kafka", "Kafka")
    cluster = clusters[0]
    name = cluster["metadata"]["name"]
    labels = {
        "strimzi.io/cluster": name,
        "strimzi.io/kind": "Kafka",
        "strimzi.io/name": f"{name}-kafka",
    }
    return Way(Place("Kafka", namespace, labels), cluster["spec"]["kafka"]["listeners"][0]["port"])


def postgres(manifests: Manifests, namespace: str) -> Way:
    clusters = manifests.kind("Cluster")
    if not clusters:
        return _outside(manifests, "to-postgres", "PostgreSQL")
    return Way(Place("PostgreSQL", namespace, {"cnpg.io/cluster": clusters[0]["metadata"]["name"]}), 5432)


def _outside(manifests: Manifests, policy: str, name: str) -> Way:
    found = manifests.find("NetworkPolicy", policy)
    rule = found["spec"]["egress"][0] if found else {}
    block = next((peer["ipBlock"]["cidr"] for peer in rule.get("to", ()) if "ipBlock" in peer), "10.0.0.0/8")
    port = next((port["port"] for port in rule.get("ports", ()) if "port" in port), 0)
    return Way(Place(name, ip=block.split("/")[0]), port)


def _collector(manifests: Manifests, pod: Pod) -> Way | None:
    """Where traces go: `http://<service>.<namespace>.svc:4318`."""
    endpoint = config_of(manifests, pod).get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint:
        return None
    url = urlsplit(endpoint)
    return Way(Place("the collector", (url.hostname or "").split(".")[1], {}), url.port or 4318)


def _inbound(manifests: Manifests, network: Network, pods: dict[str, Place]) -> Iterator[Finding]:
    """The proxy in front reaches what the Ingress names; Prometheus what it scrapes; nobody else anything."""
    behind = _behind_the_proxy(manifests)
    named = _namespaces(manifests)
    proxies = [Place(f"a pod in {name}", name) for name in sorted(named)]
    prometheus = [Place("Prometheus", name, PROMETHEUS) for name in sorted(named)]
    for name, pod in pods.items():
        port = pod.ports.get("http")
        if port is None:
            continue
        reached = [proxy.name for proxy in proxies if network.allows(proxy, pod, port)]
        if name in behind and not reached:
            yield Finding(f"NetworkPolicy: the proxy → {name}:{port}", "it is closed, but needed", _CONFINE)
        if (name not in behind and reached) or network.allows(Place("a stranger", "elsewhere"), pod, port):
            yield Finding(
                f"NetworkPolicy: {', '.join(reached) or 'anybody'} → {name}:{port}",
                "it is open, though nothing needs it",
                _CONFINE,
            )
        if manifests.kind("PodMonitor") and not any(network.allows(each, pod, port) for each in prometheus):
            yield Finding(f"NetworkPolicy: Prometheus → {name}:{port}", "it is closed, but needed", _CONFINE)


def _behind_the_proxy(manifests: Manifests) -> set[str]:
    """The workloads that the Ingress or the HTTPRoute names; their Services are called as they are."""
    services = {
        path["backend"]["service"]["name"]
        for ingress in manifests.kind("Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    routed = {
        backend["name"]
        for route in manifests.kind("HTTPRoute")
        for rule in route["spec"]["rules"]
        for backend in rule["backendRefs"]
    }
    return services | routed


def _namespaces(manifests: Manifests) -> set[str]:
    """Those that policies let in by name."""
    return {
        peer["namespaceSelector"]["matchLabels"][NAMESPACE]
        for policy in manifests.kind("NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        for peer in rule.get("from", ())
        if NAMESPACE in peer.get("namespaceSelector", {}).get("matchLabels", {})
    }
