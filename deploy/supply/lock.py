"""What uv.lock names, as requirements with hashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IN_THE_IMAGES = ("--no-default-groups", "--all-extras", "--no-extra", "embedded")
"""As the Dockerfile installs it."""
EVERYTHING = ("--all-groups", "--all-extras")
"""Also what develops, tests and builds: it runs with the rights of whoever does."""


def exported(*chosen: str, root: Path = ROOT) -> str:
    """`name==version ; marker \\ --hash=…`, without the project itself. It reads uv.lock and asks nobody."""
    command = [_uv(), "export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate", *chosen]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603


def _uv() -> Path:
    return Path(sys.executable).with_name("uv")
