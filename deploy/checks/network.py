"""NetworkPolicies as the network reads them: who may connect to whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Literal

from deploy.checks.manifests import Object, selects

NAMESPACE = "kubernetes.io/metadata.name"
"""The label that Kubernetes itself gives each namespace."""

Protocol = Literal["TCP", "UDP"]


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a connection: a pod, or an address outside of the cluster (then `ip`, and no labels).

    ports: the pod's, by their names.
    """

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)


class Network:
    """The policies of one namespace."""

    def __init__(self, policies: Sequence[Object], namespace: str) -> None:
        self._policies = policies
        self._namespace = namespace

    def allows(self, source: Place, target: Place, port: int, protocol: Protocol = "TCP") -> bool:
        """Out of the one's policies, and into the other's. What is not in this namespace lets everything through."""
        return self._lets(source, target, "Egress", target, port, protocol) and self._lets(
            target, source, "Ingress", target, port, protocol
        )

    def _lets(
        self,
        guarded: Place,
        peer: Place,
        direction: Literal["Ingress", "Egress"],
        target: Place,
        port: int,
        protocol: Protocol,
    ) -> bool:
        if guarded.namespace != self._namespace:
            return True
        policies = [
            policy
            for policy in self._policies
            if direction in _directions(policy) and selects(policy["spec"]["podSelector"], guarded.labels)
        ]
        key, side = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
        return not policies or any(
            self._is_peer(rule.get(side), peer) and _is_port(rule.get("ports"), target, port, protocol)
            for policy in policies
            for rule in policy["spec"].get(key, ())
        )

    def _is_peer(self, peers: Sequence[Object] | None, place: Place) -> bool:
        """No peers at all: everybody."""
        return not peers or any(self._matches(peer, place) for peer in peers)

    def _matches(self, peer: Object, place: Place) -> bool:
        if block := peer.get("ipBlock"):
            return bool(place.ip) and _within(place.ip, block)
        if place.ip:
            return False
        namespaces = peer.get("namespaceSelector")
        if namespaces is None:
            if place.namespace != self._namespace:
                return False
        elif not selects(namespaces, {NAMESPACE: place.namespace}):
            return False
        return selects(peer.get("podSelector"), place.labels)


def _directions(policy: Object) -> Iterable[str]:
    """Where none is said: Ingress, and Egress if there are rules for it."""
    spec = policy["spec"]
    return spec.get("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])  # type: ignore[no-any-return]


def _within(ip: str, block: Object) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(each) for each in block.get("except", ())
    )


def _is_port(ports: Sequence[Object] | None, target: Place, port: int, protocol: Protocol) -> bool:
    """No ports at all: every one."""
    return not ports or any(
        each.get("protocol", "TCP") == protocol and _covers(each, target, port) for each in ports
    )


def _covers(each: Object, target: Place, port: int) -> bool:
    first: int | str | None = each.get("port")
    if isinstance(first, str):
        return target.ports.get(first) == port
    return first is None or first <= port <= int(each.get("endPort", first))
