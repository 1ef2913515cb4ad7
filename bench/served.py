"""The two servers that the ingest benches compare, and load on them from a process of its own.

Both are served the same way (uvicorn, httptools, uvloop, one worker). What ingest is sent is signed: it verifies an
HMAC over the body, and answers once Kafka has the webhook durably.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import json_body
from sagahook.embedded.ports import free_port
from sagahook.runtime.topics import ensure_topics

PARTITIONS = 4
BODY_BYTES = 500
SIGNED = "/webhooks/bench"
UNSIGNED = "/webhooks/open"
SOURCES: dict[str, dict[str, Any]] = {
    "bench": {"scheme": "hmac", "secrets": ["env:BENCH_SECRET"], "header": "X-Signature"},
    "open": {},
}
_SECRET = "It's a Secret to Everybody"  # noqa: S105  # made up
_READY_SECONDS = 30.0
_WARM_UP = ((2, 4.0), (64, 4.0))
"""Connections, and for how many seconds."""
_BROKERS_WARM_UP = (2, 60.0)
"""The fewer connections there are, the more requests Kafka gets for as many webhooks. Its JVM is done with compiling,
beside everything else, when it was asked some fifty thousand times: a broker in use has that behind it."""


@dataclass(frozen=True)
class Served:
    """A server that is ready."""

    port: int
    pid: int

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def signature_header(body: bytes) -> str:
    """`Name: value`, as the source `bench` wants it."""
    return f"X-Signature: {hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()}"


@contextlib.asynccontextmanager
async def ingest(bootstrap: str, **further: str) -> AsyncIterator[Served]:
    """One replica on topics of its own. further: of its environment."""
    prefix, port = f"bench-{uuid.uuid4().hex[:8]}", free_port()
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    environment = {
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_HTTP_PORT": str(port),
        "SAGAHOOK_SOURCES": json.dumps(SOURCES),
        "BENCH_SECRET": _SECRET,
        "LOG_LEVEL": "ERROR",
        **further,
    }
    async with _serving("-m", "sagahook_ingest", port=port, environment=environment) as served:
        yield served


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[Served]:
    """A FastAPI route that only reads the body."""
    port = free_port()
    async with _serving("-m", "bench.bare", str(port), port=port, environment={}) as served:
        yield served


async def warm_up(*servers: Served) -> None:
    """The first of them long enough for the broker behind it too."""
    await drive(servers[0], *_BROKERS_WARM_UP)
    for server in servers:
        for connections, seconds in _WARM_UP:
            await drive(server, connections, seconds)


async def drive(server: Served, connections: int, seconds: float) -> dict[str, Any]:
    """One run of bench/load.py with signed webhooks."""
    return await generate("bench.load", server, {"--path": SIGNED}, connections, seconds)


async def load(
    served: Served, *, path: str = SIGNED, rate: float = 0.0, connections: int = 64, seconds: float = 2.0
) -> dict[str, Any]:
    """One run of bench/arrivals.py. rate 0: a closed loop."""
    options = {"--path": path, "--rate": rate}
    return await generate("bench.arrivals", served, options, connections, seconds)


async def generate(
    generator: str, served: Served, options: dict[str, Any], connections: int, seconds: float
) -> dict[str, Any]:
    """One run of a load generator in a process of its own, signed for the source `bench`; its summary."""
    options = {
        **options,
        "--port": served.port,
        "--connections": connections,
        "--seconds": seconds,
        "--body": BODY_BYTES,
        "--header": signature_header(json_body(BODY_BYTES)),
    }
    arguments = [str(part) for option in options.items() for part in option]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", generator, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the load generator failed")
    summary: dict[str, Any] = json.loads(output)
    return summary


@contextlib.asynccontextmanager
async def _serving(*arguments: str, port: int, environment: dict[str, str]) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **environment}
    )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not await _is_ready(port):
            if time.monotonic() > deadline or process.returncode is not None:
                raise RuntimeError(f"the server on port {port} did not get ready")
            await asyncio.sleep(0.05)
        yield Served(port, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.close()
