"""Mermaid text as SVG, by the renderer that is installed: `mmdc`, of npm's @mermaid-js/mermaid-cli."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

RENDERER = "mmdc"

_SECONDS = 30.0
"""It starts a browser."""

_AT_ONCE = 2


class NoRenderer(Exception):
    """Install one, or take the text."""


class NotDrawn(Exception):
    """The renderer is there, and failed."""


class Renderer:
    def __init__(self, command: str = RENDERER) -> None:
        self._command = command
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def svg(self, text: str) -> str:
        """Raises NoRenderer or NotDrawn."""
        path = await asyncio.to_thread(shutil.which, self._command)
        if path is None:
            raise NoRenderer(
                f"Nothing here renders SVG: install {RENDERER} (npm install -g @mermaid-js/mermaid-cli) beside this "
                "service, or take the Mermaid text and render that where it is shown"
            )
        async with self._slots:
            with tempfile.TemporaryDirectory(prefix="sagahook-diagram-") as directory:
                return await _run(path, text, Path(directory))


async def _run(path: str, text: str, directory: Path) -> str:
    """The browser's sandbox needs rights that a container seldom has; the text is ours, with every name escaped."""
    source, drawn, browser = directory / "diagram.mmd", directory / "diagram.svg", directory / "browser.json"
    await asyncio.to_thread(source.write_text, text)
    await asyncio.to_thread(browser.write_text, json.dumps({"args": ["--no-sandbox"]}))
    process = await asyncio.create_subprocess_exec(
        path,
        *("--quiet", "--input", str(source), "--output", str(drawn), "--puppeteerConfigFile", str(browser)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            _, complaints = await process.communicate()
    except TimeoutError:
        raise NotDrawn(f"{RENDERER} took longer than {_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not drawn.exists():
        told = complaints.decode(errors="replace").strip().splitlines()
        raise NotDrawn(
            f"{RENDERER} ended with {process.returncode}: {told[-1] if told else 'it said nothing'}"
        )
    return await asyncio.to_thread(drawn.read_text)
