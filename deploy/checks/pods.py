"""What each pod is made of: image, ports, probes, confinement, resources."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache

from deploy.checks.generated import ROOT
from deploy.checks.manifests import NAME, Finding, Manifests, Object, Pod, place
from deploy.checks.workloads import WORKLOADS, Workload

_DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_USER = 10001


def pods(manifests: Manifests) -> Iterator[Finding]:
    for pod in manifests.pods():
        workload = WORKLOADS.get(pod.name)
        if workload is None:
            yield Finding(pod.where, "nothing is known of it", "add it to deploy/checks/workloads.py")
            continue
        yield from _names(manifests, pod)
        yield from _confined_pod(pod)
        for container in pod.containers:
            where = place(pod.owner, f"container {container['name']}")
            yield from _image(where, container, workload)
            yield from _confined(where, pod, container)
            yield from _resources(where, container)
            if workload.serves is not None:
                yield from _probes(where, pod, container, workload)


def _names(manifests: Manifests, pod: Pod) -> Iterator[Finding]:
    """One name for the workload, its pods' label and its account, which everything else relies on."""
    if pod.labels.get(NAME) != pod.name:
        yield Finding(f"{pod.where} label {NAME}", f"it is {pod.labels.get(NAME)}", f"call it {pod.name}")
    account = pod.spec.get("serviceAccountName", "default")
    if account != pod.name or manifests.find("ServiceAccount", account) is None:
        yield Finding(
            f"{pod.where} serviceAccountName",
            f"{account} is not an account of its own that is there",
            f"add the ServiceAccount {pod.name} and name it",
        )


@cache
def image_targets() -> frozenset[str]:
    """The images that deploy/docker makes: the last stages' names."""
    return frozenset(re.findall(r"^FROM \S+ AS (\S+)$", _DOCKERFILE.read_text(), re.MULTILINE))


@cache
def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def _image(where: str, container: Object, workload: Workload) -> Iterator[Finding]:
    image = container["image"]
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon was a registry's port
        repository, tag = name, ""
    target = repository.rpartition("/")[2]
    if target not in image_targets() or target != workload.image:
        yield Finding(
            f"{where} image {image}",
            f"{workload.name} runs in the image {workload.image}, a target of deploy/docker/Dockerfile",
            f"name …/{workload.image}",
        )
    if not digest and tag in ("", "latest"):
        yield Finding(
            f"{where} image {image}", "which version runs is left to chance", "name a tag or a digest"
        )
    elif tag and tag != version() and not digest:
        yield Finding(
            f"{where} image {image}", f"these manifests are those of {version()}", f"name the tag {version()}"
        )
    arguments = [each for each in container.get("args", ()) if not each.startswith("-")]
    if tuple(arguments[: len(workload.args)]) != workload.args:
        yield Finding(
            f"{where} args", f"they are {container.get('args', [])}", f"begin with {list(workload.args)}"
        )


def _confined_pod(pod: Pod) -> Iterator[Finding]:
    wanted = {
        "automountServiceAccountToken": (False, "nothing here talks to the Kubernetes API"),
        "enableServiceLinks": (False, "a Service's name could set a SAGAHOOK_… variable"),
        "hostNetwork": (None, "it is forbidden in a restricted namespace"),
        "hostPID": (None, "it is forbidden in a restricted namespace"),
        "hostIPC": (None, "it is forbidden in a restricted namespace"),
    }
    for key, (value, why) in wanted.items():
        if pod.spec.get(key) != value:
            yield Finding(f"{pod.where} {key}", why, f"set it to {str(value).lower()}")
    for volume in pod.spec.get("volumes", ()):
        if "hostPath" in volume:
            yield Finding(
                f"{pod.where} volume {volume['name']}", "a hostPath is forbidden", "use an emptyDir"
            )


def _confined(where: str, pod: Pod, container: Object) -> Iterator[Finding]:
    """Pod Security Standards, restricted; and a root that nobody can write to."""
    context = {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}
    wanted: dict[str, object] = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": None,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"]},
    }
    for key, value in wanted.items():
        # `privileged: false` is as good as nothing said.
        if (context.get(key) or None if key == "privileged" else context.get(key)) != value:
            yield Finding(
                f"{where} securityContext.{key}",
                f"it is {context.get(key)}, and the namespace is restricted",
                f"set it to {value}" if value is not None else "remove it",
            )
    mounts = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
    if "/tmp" not in mounts:  # noqa: S108  # of the container
        yield Finding(where, "nothing can be written, not even /tmp", "mount an emptyDir there")


def _resources(where: str, container: Object) -> Iterator[Finding]:
    given = container.get("resources", {})
    for path in ("requests.cpu", "requests.memory", "limits.memory"):
        group, kind = path.split(".")
        if kind not in given.get(group, {}):
            yield Finding(
                f"{where} resources.{path}", "it is not said", "say it: one greedy pod starves the others"
            )


def _probes(where: str, pod: Pod, container: Object, workload: Workload) -> Iterator[Finding]:
    for name in _PROBES:
        probe = container.get(name)
        if probe is None:
            yield Finding(f"{where} {name}", "there is none", "add it, by httpGet on the port http")
            continue
        asked = probe.get("httpGet", {})
        expected = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}[name]
        if asked.get("path") not in workload.routes:
            yield Finding(
                f"{where} {name}", f"the process has no route {asked.get('path')}", f"ask for {expected}"
            )
        elif asked["path"] != expected:
            yield Finding(
                f"{where} {name}", f"{asked['path']} answers another question", f"ask for {expected}"
            )
        if asked.get("port") not in (*pod.ports, *pod.ports.values()):
            yield Finding(
                f"{where} {name}",
                f"the pod has no port {asked.get('port')}",
                f"it has {', '.join(f'{port} ({number})' for port, number in pod.ports.items())}",
            )
    told = {each["name"]: each.get("value") for each in container.get("env", ())}
    if told.get("SAGAHOOK_HTTP_PORT") != str(pod.ports.get("http")):
        yield Finding(
            f"{where} port http",
            f"it is {pod.ports.get('http')}, but SAGAHOOK_HTTP_PORT is {told.get('SAGAHOOK_HTTP_PORT')}",
            "make them the same",
        )
