"""`sagahook dev` with the real services, from the ready line to a completed saga."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from sagahook.embedded.ports import free_port
from tests.processes import is_gone

APP = """
from sagahook.saga import Saga, step, trigger

class Small(Saga):
    @trigger(source="small")
    def accept(self, event): return {}

    @step
    async def only(self, context): return {"done": True}
"""


async def test_one_line_of_json_says_that_a_webhook_can_be_posted_and_its_saga_completes(
    tmp_path: Path,
) -> None:
    (tmp_path / "small.py").write_text(APP)
    options = ["--app", "small", "--port", str(free_port()), "--data", "data", "--headless", "--json"]
    stack = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "dev", *options),
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert stack.stdout
    ready = json.loads(await stack.stdout.readline())
    async with aiohttp.ClientSession(ready["api"]) as http:
        accepted = await _json(http.post("/webhooks/small", json={}))
        status = await _json(http.get(f"/webhooks/small/status/{accepted['correlation_id']}?wait=30"))
        health = await _json(http.get("/health"))

    assert accepted["status"] == "accepted"
    assert (status["status"], status["final"]) == ("completed", True)
    assert health["status"] == "healthy"

    stack.send_signal(signal.SIGTERM)
    rest = await stack.stdout.read()
    assert (await stack.wait(), rest) == (0, b"")
    assert all(is_gone(pid) for pids in ready["pids"].values() for pid in pids)


async def _json(request: Any) -> Any:
    async with request as response:
        return await response.json()
