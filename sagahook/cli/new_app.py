"""What `sagahook init` writes: the template with a name put in, and the manifests of this version."""

from __future__ import annotations

import json
import keyword
import re
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sagahook import __version__
from sagahook.embedded.errors import StackError

_TEMPLATE = Path(__file__).with_name("template")
_PACKAGED = Path(__file__).parents[1] / "manifests"
_IN_THE_REPOSITORY = Path(__file__).parents[2] / "deploy"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_LONGEST = 40
_KEPT = ("k8s/base", "k8s/components", "monitoring/dashboards", "monitoring/kustomization.yaml")
"""What comes with sagahook as it is; the overlays are whoever's they are copied for."""


def module_of(name: str) -> str:
    """The package of an app of that name. Raises StackError with a rule, and a name that keeps it."""
    if not _NAME.match(name) or len(name) > _LONGEST:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:_LONGEST].strip("-")
        raise StackError(
            f"{name!r} cannot be a name: lower-case letters, digits and single - between them, beginning with a "
            f"letter, at most {_LONGEST} characters" + (f", such as {better}" if better else "")
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or _is_taken(module):
        raise StackError(
            f"{name!r} cannot be a name, because Python or sagahook has a module {module} already: "
            f"{name}-sagas would do"
        )
    return module


def _is_taken(module: str) -> bool:
    """Whether an app's package of that name would hide a module, its own folders among them. A folder that is no
    package yet, such as the one that is to be filled, hides nothing."""
    found = find_spec(module)
    return module in ("tests", "dev") or (found is not None and found.origin is not None)


def write_app(name: str, folder: Path) -> list[Path]:
    """Every file, below `folder`, which must not be there or be empty. Raises StackError; nothing is overwritten."""
    module = module_of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StackError(
            f"{folder} is there already, and nothing is overwritten: choose another name, or move it away"
        )
    major, minor = __version__.split(".")[:2]
    gaps = {
        "name": name,
        "module": module,
        "version": __version__,
        "next_version": f"{major}.{int(minor) + 1}",
        "sagahook": _installed_from(),
    }
    for source in sorted(_TEMPLATE.rglob("*.tmpl")):
        _write(folder / _place(source.relative_to(_TEMPLATE), module), _filled(source.read_text(), gaps))
    write_manifests(folder / "deploy")
    overlays = folder / "deploy" / "k8s" / "overlays"
    shutil.copytree(_manifests() / "k8s" / "overlays", overlays)
    for overlay in overlays.glob("*/kustomization.yaml"):
        overlay.write_text(_for_app(overlay.read_text(), name, module))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_manifests(folder: Path) -> None:
    """What of the manifests is this version's, in the place of what is there."""
    for part in _KEPT:
        kept, there = _manifests() / part, folder / part
        if kept.is_dir():
            shutil.rmtree(there, ignore_errors=True)
            shutil.copytree(kept, there)
        else:
            shutil.copyfile(kept, there)


def _manifests() -> Path:
    """In the wheel they lie beside the code; in a clone where the repository has them."""
    found = _PACKAGED if _PACKAGED.is_dir() else _IN_THE_REPOSITORY
    if not found.is_dir():
        raise StackError(
            f"the manifests are missing at {_PACKAGED}: install sagahook from its wheel or a clone of its repository"
        )
    return found


def _place(template: Path, module: str) -> Path:
    parts = [part.replace("MODULE", module).removesuffix(".tmpl") for part in template.parts]
    return Path(*parts[:-1], re.sub(r"^dot-", ".", parts[-1]))


def _filled(text: str, gaps: dict[str, str]) -> str:
    return re.sub(r"\{\{ (\w+) \}\}", lambda gap: gaps[gap[1]], text)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _for_app(overlay: str, name: str, module: str) -> str:
    """The runner is the app's image with the app's module, and is told what its steps call."""
    image = re.compile(r"name: sagahook/saga-runner,( newName: (\S+)/sagahook/saga-runner,)? newTag: \S+\}")
    overlay = image.sub(
        lambda found: (
            f"name: sagahook/saga-runner, newName: {found[2]}/{name}, newTag: '1'}}"
            if found[2]
            else f"name: sagahook/saga-runner, newName: {name}, newTag: dev}}"
        ),
        overlay,
    )
    overlay = re.sub(
        r"\n  - name: sagahook-runner-config\n    behavior: merge\n    literals:\n.*\n", "\n", overlay
    )
    return overlay.replace(
        "configMapGenerator:\n",
        "configMapGenerator:\n"
        "  - name: sagahook-runner-config\n"
        "    behavior: merge\n"
        "    literals:\n"
        f"      - SAGAHOOK_APP={module}.sagas\n"
        "      - SHOP_URL=https://shop.example.com # yours: what the steps call\n",
        1,
    )


def _installed_from() -> str:
    """What pip installs this sagahook from: the folder or address that it came from (PEP 610), else its version."""
    told = metadata.distribution("sagahook").read_text("direct_url.json")
    url = json.loads(told)["url"] if told else ""
    if url.startswith("file://"):
        return f"{unquote(urlsplit(url).path)}[embedded]"
    return f"sagahook[embedded] @ {url}" if url else f"sagahook[embedded]=={__version__}"
