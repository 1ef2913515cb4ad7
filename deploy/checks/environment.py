"""Whether each process can be told what the manifests tell it: names, values, and where they come from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from deploy.checks.manifests import Finding, Manifests, Object, Pod, place
from deploy.checks.secrets import UNKNOWN, keys_of, sample
from deploy.checks.workloads import MARGIN, WORKLOADS, Workload
from sagahook.runtime.settings_errors import explain


@dataclass(slots=True)
class Told:
    """What a container is told: variables, and mounted files by their path."""

    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def environment(manifests: Manifests) -> Iterator[Finding]:
    for pod in manifests.pods():
        workload = WORKLOADS.get(pod.name)
        for container in pod.containers:
            reading = _Reading(manifests, pod, container)
            told = reading.told()
            yield from reading.findings
            if workload is not None and not reading.findings:
                yield from _settings(workload, pod, container, told)


def config_of(manifests: Manifests, pod: Pod) -> Mapping[str, str]:
    """The variables of the pod's first container, as far as they can be told."""
    return _Reading(manifests, pod, pod.containers[0]).told().variables


def _settings(workload: Workload, pod: Pod, container: Object, told: Told) -> Iterator[Finding]:
    where = place(pod.owner, f"container {container['name']}")
    referred = {value.removeprefix("env:") for value in told.variables.values() if value.startswith("env:")}
    unknown = sorted(told.variables.keys() - workload.known_variables - referred)
    for name in unknown:
        yield Finding(
            f"{where} env {name}",
            f"{workload.name} has no such setting, and would ignore it",
            "see docs/reference/settings.md for the name that is meant",
        )
    with _as_in_the_container(told):
        for settings in workload.settings:
            try:
                read = settings()
            except (ValidationError, SettingsError, ValueError) as wrong:
                said = explain(wrong) if isinstance(wrong, ValidationError) else str(wrong)
                yield Finding(where, f"it would not start: {said}", "correct the ConfigMap or the env")
            else:
                if settings is workload.settings[0]:
                    yield from _grace(workload, pod, container, read)


def _grace(workload: Workload, pod: Pod, container: Object, settings: BaseSettings) -> Iterator[Finding]:
    """A process that is killed before it has handed over repeats what it was doing."""
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = sleep + workload.stopping(settings) + MARGIN
    given = pod.spec.get("terminationGracePeriodSeconds", 30)
    if workload.serves is not None and given < needed:
        yield Finding(
            f"{pod.where} terminationGracePeriodSeconds",
            f"{given} s, but by its settings it may take {needed:.0f} s to stop in order, and would be killed",
            f"give it {needed:.0f} or more",
        )


@contextmanager
def _as_in_the_container(told: Told) -> Iterator[None]:
    """os.environ as the container has it, and the mounted files below a directory of this moment."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in told.files.items():
            file = Path(root + path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        mounts = sorted({str(Path(path).parent) for path in told.files}, key=len, reverse=True)
        with patch.dict(os.environ, _moved(told.variables, mounts, root), clear=True):
            yield


def _moved(variables: Mapping[str, str], mounts: list[str], root: str) -> dict[str, str]:
    """The variables, with paths of mounted files below `root`."""
    moved = dict(variables)
    for name, value in variables.items():
        mount = next((each for each in mounts if f"{each}/" in value), None)
        if mount is not None:
            moved[name] = value.replace(f"{mount}/", f"{root}{mount}/")
    return moved


class _Reading:
    """Resolves what one container refers to, as the kubelet would."""

    def __init__(self, manifests: Manifests, pod: Pod, container: Object) -> None:
        self._manifests = manifests
        self._pod = pod
        self._container = container
        self.findings: list[Finding] = []

    def told(self) -> Told:
        told = Told()
        for source in self._container.get("envFrom", ()):
            if "configMapRef" in source:
                told.variables |= self._config_map(source["configMapRef"]["name"], "envFrom")
            else:
                told.variables |= self._secret(source["secretRef"], "envFrom")
        for variable in self._container.get("env", ()):
            if (value := self._value(variable)) is not None:
                told.variables[variable["name"]] = value
        for mount in self._container.get("volumeMounts", ()):
            told.files |= {f"{mount['mountPath']}/{name}": text for name, text in self._volume(mount).items()}
        return told

    def _value(self, variable: Object) -> str | None:
        if "value" in variable:
            return str(variable["value"])
        at, source = f"env {variable['name']}", variable["valueFrom"]
        if reference := source.get("secretKeyRef"):
            return self._keyed(self._secret(reference, at), reference, at)
        if reference := source.get("configMapKeyRef"):
            return self._keyed(self._config_map(reference["name"], at), reference, at)
        return UNKNOWN  # of the pod itself

    def _keyed(self, found: Mapping[str, str], reference: Object, at: str) -> str | None:
        if reference["key"] in found or reference.get("optional"):
            return found.get(reference["key"])
        if found:
            self._wrong(
                at,
                f"{reference['name']} has no key {reference['key']}, so the pod would not start",
                f"it has {', '.join(sorted(found))}",
            )
        return None

    def _volume(self, mount: Object) -> Mapping[str, str]:
        at = f"volume {mount['name']}"
        volume = next(
            (each for each in self._pod.spec.get("volumes", ()) if each["name"] == mount["name"]), None
        )
        if volume is None:
            self._wrong(at, "it is mounted, but the pod has no such volume", "add it to the pod's volumes")
            return {}
        if config_map := volume.get("configMap"):
            return self._config_map(config_map["name"], at)
        if secret := volume.get("secret"):
            return self._items(self._secret(secret | {"name": secret["secretName"]}, at), secret, at)
        found: dict[str, str] = {}
        for source in volume.get("projected", {}).get("sources", ()):
            if secret := source.get("secret"):
                found |= self._items(self._secret(secret, at), secret, at)
            elif config_map := source.get("configMap"):
                found |= self._items(self._config_map(config_map["name"], at), config_map, at)
        return found

    def _items(self, found: Mapping[str, str], source: Object, at: str) -> dict[str, str]:
        """The chosen keys under their paths; all of them where none is chosen."""
        chosen = {}
        name = source.get("secretName", source.get("name"))
        for item in source.get("items", [{"key": key, "path": key} for key in found]):
            value = self._keyed(found, {**item, "name": name, "optional": source.get("optional")}, at)
            if value is not None:
                # Whatever its key is called in there, its path says what it is here.
                chosen[item["path"]] = sample(item["path"]) if value == UNKNOWN else value
        return chosen

    def _config_map(self, name: str, at: str) -> Mapping[str, str]:
        found = self._manifests.find("ConfigMap", name)
        if found is None:
            self._wrong(at, f"there is no ConfigMap {name}", "correct the name, or add it")
        data: Mapping[str, str] = (found or {}).get("data", {})
        return data

    def _secret(self, reference: Object, at: str) -> dict[str, str]:
        name = reference["name"]
        keys = keys_of(self._manifests, name)
        if keys is None and not reference.get("optional"):
            self._wrong(
                at,
                f"nobody makes the Secret {name}",
                "correct the name, or add it to deploy/checks/secrets.py and docs/operating/kubernetes.md",
            )
        written = (self._manifests.find("Secret", name) or {}).get("stringData", {})
        return {key: written.get(key, sample(key)) for key in keys or ()}

    def _wrong(self, at: str, what: str, then: str) -> None:
        where = place(self._pod.owner, f"container {self._container['name']}", at)
        self.findings.append(Finding(where, what, then))
