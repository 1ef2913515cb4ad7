"""What kustomize makes of the overlays, committed as `deploy/k8s/rendered` so that a review sees what is applied."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.checks.generated import K8S, ROOT, generated
from deploy.checks.manifests import Finding, Manifests, place

RENDERED = K8S / "rendered"
OVERLAYS = tuple(sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml")))
_AGAIN = "run `make manifests`, look at `make manifests-diff`, and commit deploy/k8s"


class Refused(Exception):
    """kustomize cannot make anything of an overlay: correct what it names."""


def rendered(overlay: str) -> Manifests:
    return Manifests.at(_file(overlay))


def render(overlay: str) -> str:
    """Without the dashboards' bodies, which are reviewed where they are. By the kubectl of the lock, so that it is the
    same everywhere. Raises Refused."""
    kubectl = Path(sys.executable).with_name("kubectl")
    made = subprocess.run(
        [kubectl, "kustomize", K8S / "overlays" / overlay], check=False, capture_output=True, text=True
    )
    if made.returncode:
        raise Refused(f"deploy/k8s/overlays/{overlay}: {made.stderr.strip()}")
    manifests = Manifests.of(made.stdout)
    for dashboards in manifests.kind("ConfigMap"):
        if "grafana_dashboard" in dashboards["metadata"].get("labels", {}):
            dashboards["data"] = dict.fromkeys(dashboards["data"], "deploy/monitoring/dashboards")
    return "---\n".join(
        yaml.dump(each, Dumper=yaml.CSafeDumper, sort_keys=False) for each in manifests.objects
    )


def write() -> list[Path]:
    """Make everything anew that is made; those that changed. Raises Refused."""
    changed = _written(generated())
    return changed + _written({_file(overlay): render(overlay) for overlay in OVERLAYS})


def _file(overlay: str) -> Path:
    return RENDERED / f"{overlay}.yaml"


def _written(texts: dict[Path, str]) -> list[Path]:
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path])
    return changed


def drift() -> Iterator[Finding]:
    """Whatever was not made anew after its source changed. Raises Refused."""
    for path, text in generated().items():
        if not path.exists() or path.read_text() != text:
            yield Finding(str(path.relative_to(ROOT)), "it is not what its source says", _AGAIN)
    for overlay in OVERLAYS:
        if not _file(overlay).exists() or _file(overlay).read_text() != render(overlay):
            where = str(_file(overlay).relative_to(ROOT))
            yield Finding(where, "its sources have changed since it was rendered", _AGAIN)


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
    path = f"{revision}:{_file(overlay).relative_to(ROOT)}"
    shown = subprocess.run(["git", "show", path], cwd=ROOT, check=False, capture_output=True, text=True)
    return Manifests.of(shown.stdout if shown.returncode == 0 else "")


def _by_place(manifests: Manifests) -> dict[str, list[str]]:
    return {place(each): yaml.dump(each, Dumper=yaml.CSafeDumper).splitlines() for each in manifests.objects}
