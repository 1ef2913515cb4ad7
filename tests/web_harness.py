"""Applications of web frameworks in their own servers, beside a deployment that carries out what they take."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types

from sagahook.embedded.ports import HeldPort, hold_port
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log
from tests.service_process import running

READY_SECONDS = 90
STOP_SECONDS = 30
SECRET = "It's a Secret to Everybody"
SOURCES = {"signed": {"scheme": "github", "secrets": ["env:SIGNED_SECRET"]}}


@dataclass
class Server:
    """One that serves an application: `python -m` with these arguments, in which {port} stands for its own."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    http: aiohttp.ClientSession
    port: HeldPort = field(default_factory=hold_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.number}"

    async def start(self) -> None:
        argv = [each.format(port=self.port.number) for each in self.arguments]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *argv, env={**os.environ, **self.environment}, stdout=log, stderr=log
            )

    async def until(self, path: str, status: int) -> None:
        """Fails, with the end of its log, where that does not come."""
        found: object = None
        try:
            async with asyncio.timeout(READY_SECONDS):
                while found != status:
                    assert self.process is not None
                    assert self.process.returncode is None, "it ended"
                    try:
                        found = (await self.ask("GET", path)).status
                    except aiohttp.ClientError as silent:
                        found = silent
                    await asyncio.sleep(0.05)
        except (TimeoutError, AssertionError) as why:
            end = self.log.read_text()[-3000:]
            raise AssertionError(f"{path} is {found!r}, not {status} ({why})\n{end}") from None

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """body: bytes, an iterator of them (which is sent in chunks), or what is sent as JSON."""
        raw = body is None or isinstance(body, bytes) or hasattr(body, "__aiter__")
        data = body if raw else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        async with self.http.request(method, self.url + path, data=data, headers=given) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, json.loads(text) if is_json else text.decode())

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.ask("POST", path, body, headers)

    def workers(self) -> list[int]:
        """The processes that serve requests, as the system knows them."""
        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    async def terminate(self) -> int:
        """Its exit code, when it has ended in order."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), STOP_SECONDS)

    async def kill(self) -> None:
        """Whatever is left of it."""
        if self.process is not None and self.process.returncode is None:
            workers = self.workers()
            for pid in (self.process.pid, *workers):
                os.kill(pid, signal.SIGKILL)
            await self.process.wait()
        self.port.release()


@asynccontextmanager
async def serving(
    arguments: tuple[str, ...], environment: Mapping[str, str], log: Path, ready: str | None = "/health"
) -> AsyncIterator[Server]:
    """Ready, until the end of the block. ready: where a GET is answered 200; None: not waited for."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # as senders are, of whom each sends once
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=90)) as http:
        server = Server(arguments, environment, log, http)
        try:
            await server.start()
            if ready is not None:
                await server.until(ready, 200)
            yield server
        finally:
            await server.kill()


@dataclass(frozen=True)
class Deployment:
    """environment: what an application is told of it."""

    environment: Mapping[str, str]
    log: Log


def told(kafka: str, prefix: str, **others: str) -> dict[str, str]:
    """The environment of an application that is an ingest."""
    return {
        "SAGAHOOK_KAFKA": kafka,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_SOURCES": json.dumps(SOURCES),
        "SAGAHOOK_UNSIGNED_RATE_LIMIT": "none",
        "SIGNED_SECRET": SECRET,
        **others,
    }


@asynccontextmanager
async def deployment(kafka: str, prefix: str, database_url: str, folder: Path) -> AsyncIterator[Deployment]:
    """A runner with the parcels' saga, a projector, and ingest and the status API on one origin."""
    await ensure_topics(kafka, prefix, PARTITIONS)
    environment = told(
        kafka,
        prefix,
        DATABASE_URL=database_url,
        SAGAHOOK_APP="tests.apps.parcels",
        SAGAHOOK_SECRET_KEY="0123456789abcdef0123456789abcdef",
        SAGAHOOK_OPEN_RATE_LIMIT="none",
        SAGAHOOK_API_RATE_LIMIT="none",
    )
    services = (("tests.one_origin",), ("sagahook_runner",), ("sagahook_tracker", "project"))
    async with AsyncExitStack() as stack:
        api, runner, projector = await stack.enter_async_context(running(folder, environment, *services))
        for each in (api, runner, projector):
            await each.until("/readyz", 200)
        yield Deployment({**environment, "SAGAHOOK_URL": api.url}, Log(kafka, prefix))


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "16")
"""`--preload` imports the application before the workers are forked: the harder way, and the quicker."""
