"""The tracker's commands as processes."""

import asyncio
import os
import signal
import sys

import aiohttp
import asyncpg

from sagahook.embedded.ports import free_port
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_tracker.adapters.schema import MIGRATIONS


async def run(command: str, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook_tracker", command),
        env={**os.environ, **env},
        stderr=asyncio.subprocess.PIPE,
    )


async def finished(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_migrations_that_run_at_once_make_one_schema(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url, "tracker", MIGRATIONS) for _ in range(3)))
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT count(*) FROM tracker.schema_version") == 1
    await connection.close()


async def test_a_projector_that_is_told_to_stop_ends_orderly(
    kafka_bootstrap: str, topic_prefix: str, empty_database_url: str
) -> None:
    port = free_port()
    env = {
        "SAGAHOOK_KAFKA": kafka_bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": topic_prefix,
        "DATABASE_URL": empty_database_url,
        "SAGAHOOK_HTTP_PORT": str(port),
    }
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    assert (await finished(await run("migrate", **env)))[0] == 0
    process = await run("project", **env)
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while not await _is_ready(http, port):
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, errors = await finished(process)
    assert code == 0, errors
    assert "service.stopped" in errors


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_a_wrong_setting_is_named_and_no_secret_is_shown() -> None:
    process = await run(
        "api",
        SAGAHOOK_KAFKA="kafka:9092",
        DATABASE_URL="postgresql://user:very-secret@db/x",
        SAGAHOOK_STATUS_AUTH="true",
    )
    code, errors = await finished(process)
    assert code == 1
    assert "set SAGAHOOK_API_KEYS" in errors
    assert "very-secret" not in errors
