"""Prometheus' own programs: those on PATH, else those of Debian's package, unpacked into the cache. Nothing is
installed, so no service begins, and nobody need be root."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from sagahook.embedded.paths import cache_dir

_SECONDS = 300.0


class NoPrometheus(Exception):
    """It is not here, and cannot be had: the text says why."""


def program(name: Literal["promtool", "prometheus"]) -> Path:
    """Where it is. Raises NoPrometheus."""
    if found := shutil.which(name):
        return Path(found)
    unpacked = cache_dir() / "prometheus"
    unpacked.mkdir(parents=True, exist_ok=True)
    with (unpacked / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = unpacked / "usr" / "bin" / name
        if not path.exists():
            _unpack(unpacked)
        return path


def _unpack(into: Path) -> None:
    """Apt's lists too are a copy of our own: the system's may be missing, and are root's."""
    lists, archives = into / "lists", into / "archives"
    for directory in (lists / "partial", archives / "partial"):
        directory.mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={archives}"]
    _run([*apt, "update"], into)
    _run([*apt, "download", "prometheus"], into)
    for package in into.glob("prometheus_*.deb"):
        _run(["dpkg", "-x", str(package), str(into)], into)
        package.unlink()
    shutil.rmtree(lists)


def _run(command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise NoPrometheus(f"{command[0]}: {failed}") from failed
    if done.returncode:
        raise NoPrometheus(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")
