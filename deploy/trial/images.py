"""Images by buildah: from the project's Dockerfile as it is, on a base that Debian's packages make.

No registry is needed. Only the build argument `PYTHON_IMAGE` differs from what a deployment builds.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TARGETS = ("ingest", "saga-runner", "tracker", "notifier", "cli")
TOOLS = ("buildah", "debootstrap")
BASE = "localhost/python-on-debian"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Image:
    """What was built: its file system, mounted, and what it says of how it is started."""

    name: str
    root: Path
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    user: str
    directory: str
    healthcheck: tuple[str, ...]
    stop_signal: str
    layers: int


def run(*command: str | Path) -> str:
    """What it printed. Raises CalledProcessError, after its errors were shown."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-8000:])
    done.check_returncode()
    return done.stdout.strip()


def buildah(*arguments: str | Path) -> str:
    """Where the kernel has no overlays, STORAGE_DRIVER=vfs makes do, with much more of the disk."""
    return run("buildah", *arguments)


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def make_base(work: Path) -> None:
    """Debian with its own Python 3.11, in place of the official image; and the authorities that this machine trusts."""
    if BASE in buildah("images", "--format", "{{.Name}}").splitlines():
        return
    root = work / "base"
    if (root / "proc/self").exists():
        raise RuntimeError(f"{root}/proc is still mounted by a run that was broken off: umount it first")
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, "bookworm", root)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    shutil.copyfile(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, root, "/")
    search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for setting in (f"PATH={search}", f"SSL_CERT_FILE={_AUTHORITIES}", f"PIP_CERT={_AUTHORITIES}"):
        buildah("config", "--env", setting, container)
    buildah("commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(root)


def build(target: str, dockerfile: Path = ROOT / "deploy/docker/Dockerfile", context: Path = ROOT) -> None:
    """`sagahook/<target>`, by the Dockerfile that deployments use."""
    buildah(
        *("build", "--isolation", "chroot", "--format", "docker", "--layers", "--network", "host"),
        *("--build-arg", f"PYTHON_IMAGE={BASE}", "--target", target, "--tag", f"sagahook/{target}"),
        *("--file", dockerfile, context),
    )


def takes_files_of_other_hashes(work: Path) -> bool:
    """Whether the build installs anything where the lock has one digit of each hash differ from the files' own."""
    context = work / "spoiled"
    (context / "deploy/docker").mkdir(parents=True, exist_ok=True)
    for path in ("pyproject.toml", "uv.lock", "deploy/docker/builder.txt"):
        shutil.copyfile(ROOT / path, context / path)
    lock = context / "uv.lock"
    lock.write_text(
        re.sub("sha256:(.)", lambda at: f"sha256:{(int(at[1], 16) + 1) % 16:x}", lock.read_text())
    )
    command = (
        "buildah",
        "build",
        "--isolation",
        "chroot",
        "--layers",
        "--network",
        "host",
        "--target",
        "build",
    )
    dockerfile = ROOT / "deploy/docker/Dockerfile"
    tried = subprocess.run(
        [*command, "--build-arg", f"PYTHON_IMAGE={BASE}", "--file", dockerfile, context],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Hash mismatch" not in tried.stderr + tried.stdout:
        sys.stderr.write(tried.stdout[-2000:] + tried.stderr[-2000:])
        return True
    return False


def opened(target: str) -> Image:
    """The image, mounted until `closed`."""
    container = buildah("from", "--pull-never", "--name", f"trial-{target}", f"sagahook/{target}")
    described: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", f"sagahook/{target}"))
    config: dict[str, Any] = described["Docker"]["config"]
    health: list[str] = (config.get("Healthcheck") or {}).get("Test") or []
    return Image(
        name=f"sagahook/{target}",
        root=Path(buildah("mount", container)),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        environment=dict(setting.split("=", 1) for setting in config["Env"]),
        user=config["User"],
        directory=config["WorkingDir"],
        healthcheck=tuple(health[1:]),
        stop_signal=config.get("StopSignal", ""),
        layers=len(described["Docker"]["rootfs"]["diff_ids"]),
    )


def closed(target: str) -> None:
    buildah("rm", f"trial-{target}")
