"""Asks app_check, in a process of its own, whether an app can be run."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagahook.embedded.errors import StackError


@dataclass(frozen=True)
class AppFacts:
    """Where the app's code is, one of the sources that its triggers name, and the dotted paths that the body of such a
    webhook must have."""

    directory: Path
    source: str | None = None
    keys: tuple[str, ...] = ()


async def check_app(app: str, env: Mapping[str, str]) -> AppFacts:
    """`env` is added to ours. Raises StackError, with what is wrong, when the app cannot be run."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.embedded.app_check", app),
        env={**os.environ, **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, complaint = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        raise StackError(f"--app {app}: {complaint.decode().strip()}")
    facts = json.loads(answer.splitlines()[-1])  # the app itself may print while it is imported
    return AppFacts(Path(facts["directory"]), facts["source"], tuple(facts["keys"]))
