"""What uv.lock names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IN_THE_IMAGES = ("--no-default-groups", "--all-extras", "--no-extra", "embedded")
"""As the Dockerfile installs it."""
EVERYTHING = ("--all-groups", "--all-extras")
"""Also what develops, tests and builds: it runs with the rights of whoever does."""


def requirements(*chosen: str) -> str:
    """`name==version ; marker \\ --hash=…`, without the project itself."""
    return exported("--no-emit-project", "--no-header", "--no-annotate", *chosen)


def exported(*options: str) -> str:
    """By `uv export`, which reads uv.lock as it is and asks nobody."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "export", "--quiet", "--frozen", *options]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
