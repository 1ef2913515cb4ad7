"""A rendering, as the checks look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
"""A Kubernetes object as it is written."""

NAME = "app.kubernetes.io/name"
"""The label that tells one workload's pods from all others."""

PART_OF = "app.kubernetes.io/part-of"
"""The label of whatever belongs to sagahook; Kafka's and PostgreSQL's pods have it not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """where: the object, and the place in it. what: is wrong. then: what to do."""

    where: str
    what: str
    then: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.then}"


class Manifests:
    """All objects of one overlay."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = list(objects)

    @classmethod
    def of(cls, text: str) -> Manifests:
        return cls([each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each])

    @classmethod
    def at(cls, path: Path) -> Manifests:
        return cls.of(path.read_text())

    def kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def find(self, kind: str, name: str) -> Object | None:
        return next((each for each in self.kind(kind) if each["metadata"]["name"] == name), None)

    def pods(self) -> Iterator[Pod]:
        """What Deployments and Jobs make."""
        for owner in self.kind("Deployment", "Job"):
            yield Pod(
                owner, owner["spec"]["template"]["metadata"]["labels"], owner["spec"]["template"]["spec"]
            )


@dataclass(frozen=True, slots=True)
class Pod:
    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        """Of the Deployment or Job, and by our convention of the label and the ServiceAccount."""
        return str(self.owner["metadata"]["name"])

    @property
    def where(self) -> str:
        return place(self.owner)

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """The containers' ports by name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", ())
            if "name" in port
        }


def place(thing: Object, *inside: str) -> str:
    """`Deployment/sagahook-ingest container service`."""
    return " ".join((f"{thing['kind']}/{thing['metadata']['name']}", *inside))


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A label selector of Kubernetes; an empty one selects everything."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions", ()))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return bool((key in labels) == (operator == "Exists"))
    # NotIn holds also where there is no such label.
    return bool((labels.get(key) in expression["values"]) == (operator == "In"))
