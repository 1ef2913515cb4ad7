"""The health check that the images have, against the routes that the services have."""

import asyncio
import os
import sys

import uvicorn

from sagahook.embedded.ports import free_port
from sagahook.runtime.health import Health, health_app
from tests.dockerfiles import ROOT

PROBE = ROOT / "deploy/docker/probe.py"


async def probe(port: str, path: str = "/readyz") -> tuple[int, str]:
    """As the image runs it: without site packages."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(PROBE), path,
        env={**os.environ, "SAGAHOOK_HTTP_PORT": port},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_service_is_healthy_as_long_as_it_says_so() -> None:
    health = Health()
    server = uvicorn.Server(uvicorn.Config(health_app(health), port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = str(server.servers[0].sockets[0].getsockname()[1])
    try:
        assert await probe(port) == (1, "/readyz: 503\n")
        health.ready = True
        assert await probe(port) == (0, "/readyz: 200\n")
    finally:
        server.should_exit = True
        await serving


async def test_one_that_nobody_hears_is_not_healthy_and_the_probe_says_why() -> None:
    port = str(free_port())

    code, said = await probe(port)

    assert code == 1
    assert said.startswith(f"port {port}, /readyz: ")


async def test_one_that_answers_no_http_is_not_healthy() -> None:
    async def mumble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.close()

    async with await asyncio.start_server(mumble, "127.0.0.1", 0) as server:
        code, said = await probe(str(server.sockets[0].getsockname()[1]))

    assert (code, "the answer is no HTTP" in said) == (1, True)


async def test_without_a_port_there_is_nothing_to_ask() -> None:
    code, _ = await probe("")

    assert code == 1
