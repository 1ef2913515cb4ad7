"""Whether each route of the services is reached through the Ingress (or the HTTPRoute), and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from deploy.checks.manifests import Finding, Manifests, Object, place, selects
from deploy.checks.workloads import WORKLOADS
from sagahook.embedded.one_origin import SHARED

_PUBLIC = ("sagahook-ingest", "sagahook-tracker-api", "sagahook-notifier-api")
_WITHIN = ("/", "/openapi.json", *sorted(SHARED))
"""What nobody outside is to see."""


@dataclass(frozen=True, slots=True)
class Rule:
    """methods: none for all. path: a pattern of the whole path. rank: the highest of those that match decides."""

    where: str
    methods: frozenset[str]
    path: re.Pattern[str]
    rank: tuple[int, ...]
    service: str


def routing(manifests: Manifests) -> Iterator[Finding]:
    rules = list(_rules(manifests))
    yield from _backends(manifests)
    if not rules:
        yield Finding("Ingress", "there is none, and no HTTPRoute: nobody reaches anything", "add one")
        return
    for method, path, owner in _routes():
        reached = _reached(rules, method, path)
        if reached != owner:
            yield Finding(
                f"{method} {path}",
                f"it is {owner}'s, but {f'goes to {reached}' if reached else 'goes nowhere'}",
                "correct the paths of the Ingress or the HTTPRoute",
            )
    for path in _WITHIN:
        if reached := _reached(rules, "GET", path):
            yield Finding(
                f"GET {path}", f"everybody outside would reach it, at {reached}", "take the path out"
            )


@cache
def _routes() -> Sequence[tuple[str, str, str]]:
    """Method, a path with something in its gaps, and whose it is: of the apps' own documents."""
    return [
        (method.upper(), re.sub(r"\{[^}]*\}", "x1", path), name)
        for name in _PUBLIC
        for path, methods in WORKLOADS[name].routes.items()
        if path not in SHARED
        for method in methods
    ]


def _reached(rules: Sequence[Rule], method: str, path: str) -> str | None:
    matching = [
        rule for rule in rules if rule.path.match(path) and (not rule.methods or method in rule.methods)
    ]
    return max(matching, key=lambda rule: rule.rank).service if matching else None


def _rules(manifests: Manifests) -> Iterator[Rule]:
    for ingress in manifests.kind("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield _of_ingress(ingress, path)
    for route in manifests.kind("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for match in rule.get("matches", [{"path": {"type": "PathPrefix", "value": "/"}}]):
                yield _of_route(route, match, rule["backendRefs"][0]["name"])


def _of_ingress(ingress: Object, path: Object) -> Rule:
    """Exact before patterns before prefixes, and the longer before the shorter."""
    kind, text = path["pathType"], path["path"]
    order = {"Exact": 2, "ImplementationSpecific": 1, "Prefix": 0}[kind]
    pattern = re.compile(text) if kind == "ImplementationSpecific" else _pattern(kind, text)
    return Rule(
        place(ingress, text), frozenset(), pattern, (order, len(text)), path["backend"]["service"]["name"]
    )


def _of_route(route: Object, match: Object, service: str) -> Rule:
    """Gateway API: exact, then the longest prefix, then the one that names a method."""
    kind, text = match["path"]["type"], match["path"]["value"]
    methods = frozenset({match["method"]} if "method" in match else ())
    exact = kind == "Exact"
    pattern = _pattern("Exact" if exact else "Prefix", text)
    return Rule(place(route, text), methods, pattern, (exact, len(text), bool(methods)), service)


def _pattern(kind: str, text: str) -> re.Pattern[str]:
    """A prefix ends where an element of the path does."""
    if kind == "Exact":
        return re.compile(re.escape(text) + r"\Z")
    return re.compile(re.escape(text.rstrip("/")) + r"(/|\Z)")


def _backends(manifests: Manifests) -> Iterator[Finding]:
    for where, name, port in _named_backends(manifests):
        service = manifests.find("Service", name)
        if service is None:
            there = ", ".join(each["metadata"]["name"] for each in manifests.kind("Service"))
            yield Finding(where, f"there is no Service {name}", f"name one of {there}")
        elif port not in {each[key] for each in service["spec"]["ports"] for key in ("name", "port")}:
            yield Finding(where, f"the Service {name} has no port {port}", "name one that it has")
        elif not any(
            selects({"matchLabels": service["spec"]["selector"]}, pod.labels) for pod in manifests.pods()
        ):
            yield Finding(where, f"no pod is behind the Service {name}", "correct the Service's selector")


def _named_backends(manifests: Manifests) -> Iterator[tuple[str, str, str | int]]:
    for ingress in manifests.kind("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                port = service["port"].get("name", service["port"].get("number"))
                yield place(ingress, f"path {path['path']}"), service["name"], port
    for route in manifests.kind("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield place(route), backend["name"], backend["port"]
