"""What kustomize makes of the overlays, committed as `deploy/k8s/rendered`: for review, and for machines without
kustomize. Such a machine cannot render anew, but it sees by a digest that what is rendered is older than its sources."""

from __future__ import annotations

import difflib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.checks.generated import K8S, ROOT, generated
from deploy.checks.manifests import Finding, Manifests, place

RENDERED = K8S / "rendered"
DIGEST = RENDERED / "sources.sha256"
OVERLAYS = tuple(sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml")))
_SOURCES = ("k8s/base", "k8s/components", "k8s/overlays")
_AGAIN = "run `make manifests`, look at `make manifests-diff`, and commit deploy/k8s"


class NoKustomize(Exception):
    """Install kubectl or kustomize to render."""


def rendered(overlay: str) -> Manifests:
    return Manifests.at(RENDERED / f"{overlay}.yaml")


def render(overlay: str) -> str:
    """Without the dashboards' bodies, which are reviewed where they are. Raises NoKustomize, and CalledProcessError
    where kustomize refuses."""
    made = subprocess.run(
        [*_kustomize(), str(K8S / "overlays" / overlay)], check=True, capture_output=True, text=True
    ).stdout
    manifests = Manifests.of(made)
    for dashboards in manifests.kind("ConfigMap"):
        if "grafana_dashboard" in dashboards["metadata"].get("labels", {}):
            dashboards["data"] = {name: "deploy/monitoring/dashboards" for name in dashboards["data"]}
    return "---\n".join(
        yaml.dump(each, Dumper=yaml.CSafeDumper, sort_keys=False) for each in manifests.objects
    )


def _kustomize() -> list[str]:
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    raise NoKustomize("neither kustomize nor kubectl is here: install one of them to render deploy/k8s")


def can_render() -> bool:
    try:
        _kustomize()
    except NoKustomize:
        return False
    return True


def write() -> list[Path]:
    """Make everything anew that is made; those that changed."""
    texts = dict(generated())
    changed = _written(texts)
    texts = {RENDERED / f"{overlay}.yaml": render(overlay) for overlay in OVERLAYS}
    return changed + _written(texts | {DIGEST: sources_digest() + "\n"})


def _written(texts: dict[Path, str]) -> list[Path]:
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path])
    return changed


def sources_digest() -> str:
    """Of all that kustomize reads: names and contents."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((ROOT / "deploy" / folder).rglob("*")):
            if path.suffix in (".yaml", ".toml", ".json") and path.is_file():
                digest.update(f"{path.relative_to(ROOT)}\0{len(path.read_bytes())}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def drift() -> Iterator[Finding]:
    """Whatever was not made anew after its source changed."""
    for path, text in generated().items():
        if not path.exists() or path.read_text() != text:
            yield Finding(str(path.relative_to(ROOT)), "it is not what its source says", _AGAIN)
    if DIGEST.read_text().strip() != sources_digest():
        yield Finding("deploy/k8s/rendered", "its sources have changed since it was rendered", _AGAIN)
    if can_render():
        for overlay in OVERLAYS:
            if differences(rendered(overlay), Manifests.of(render(overlay))):
                yield Finding(
                    f"deploy/k8s/rendered/{overlay}.yaml", "kustomize makes something else of it", _AGAIN
                )


def differences(old: Manifests, new: Manifests) -> list[str]:
    """A unified diff for each object that is not the same, whatever the order they stand in."""
    before, after = _by_place(old), _by_place(new)
    return [
        "\n".join(
            difflib.unified_diff(before.get(where, []), after.get(where, []), where, where, lineterm="", n=4)
        )
        for where in sorted(before.keys() | after.keys())
        if before.get(where) != after.get(where)
    ]


def committed(overlay: str, revision: str) -> Manifests:
    """As it was rendered at a git revision; nothing where there was none."""
    path = f"{revision}:{(RENDERED / f'{overlay}.yaml').relative_to(ROOT)}"
    shown = subprocess.run(["git", "show", path], cwd=ROOT, check=False, capture_output=True, text=True)
    return Manifests.of(shown.stdout if shown.returncode == 0 else "")


def _by_place(manifests: Manifests) -> dict[str, list[str]]:
    return {place(each): yaml.dump(each, Dumper=yaml.CSafeDumper).splitlines() for each in manifests.objects}
