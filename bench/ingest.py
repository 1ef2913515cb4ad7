"""POST → durable 202 against a bare FastAPI route that only reads the body.

Both are served the same way (uvicorn, httptools, uvloop, one worker, kept-alive connections), get the same
500-byte body from a load generator in a process of its own, and take turns, so that what else the machine does
meets both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from sagahook.embedded.ports import free_port
from sagahook.runtime.topics import ensure_topics

PARTITIONS = 4
BODY_BYTES = 500
CONNECTIONS = (16, 64)
_READY_SECONDS = 30.0


async def measure(bootstrap: str, *, rounds: int = 5, seconds: float = 2.0) -> dict[str, Any]:
    """By number of connections: requests a second of both (medians of the rounds), their ratio, and ours in ms.

    `{"16": {"ratio", "per_second", "bare_per_second", "p50_ms", "p99_ms"}, "64": …}` and the conditions.
    """
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    environment = {
        **os.environ,
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_SOURCES": '{"bench": {"rate_limit": "none"}}',
        "LOG_LEVEL": "WARNING",
    }
    async with AsyncExitStack() as servers:
        ours, bare = free_port(), free_port()
        await servers.enter_async_context(
            _serving(
                "-m",
                "sagahook_ingest",
                port=ours,
                environment=environment | {"SAGAHOOK_HTTP_PORT": str(ours)},
            )
        )
        await servers.enter_async_context(
            _serving("-m", "bench.bare", str(bare), port=bare, environment=environment)
        )
        for port in (ours, bare):
            await _load(port, 16, 1.0)
        results: dict[str, Any] = {
            str(connections): await _compare(ours, bare, connections, rounds, seconds)
            for connections in CONNECTIONS
        }
    return results | {"body_bytes": BODY_BYTES, "workers": 1, "keep_alive": True, "partitions": PARTITIONS}


async def _compare(ours: int, bare: int, connections: int, rounds: int, seconds: float) -> dict[str, float]:
    runs = [
        (await _load(ours, connections, seconds), await _load(bare, connections, seconds))
        for _ in range(rounds)
    ]
    for run, _ in runs:
        if set(run["statuses"]) != {"202"}:
            raise RuntimeError(f"not every webhook was accepted: {run['statuses']}")
    accepted = median(run["per_second"] for run, _ in runs)
    read = median(run["per_second"] for _, run in runs)
    return {
        "ratio": round(accepted / read, 2),
        "per_second": accepted,
        "bare_per_second": read,
        "p50_ms": median(run["p50_ms"] for run, _ in runs),
        "p99_ms": median(run["p99_ms"] for run, _ in runs),
    }


async def _load(port: int, connections: int, seconds: float) -> dict[str, Any]:
    options = {
        "--port": port,
        "--path": "/webhooks/bench",
        "--connections": connections,
        "--seconds": seconds,
        "--body": BODY_BYTES,
    }
    arguments = [str(part) for option in options.items() for part in option]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the load generator failed")
    result: dict[str, Any] = json.loads(output)
    return result


@contextlib.asynccontextmanager
async def _serving(*arguments: str, port: int, environment: dict[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    try:
        await _until_ready(port)
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not await _is_ready(port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server on port {port} did not get ready")
        await asyncio.sleep(0.05)


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


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1])), indent=2))
