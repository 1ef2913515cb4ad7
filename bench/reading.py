"""The status API before a database with 1,000,000 finished webhooks: status by id, list pages, long polls, one process.

`python -m bench.reading`; BENCH_ROWS: how many webhooks; BENCH_REQUESTS: of each kind. Not part of `make bench`: making
the rows takes minutes. They are written straight into the views, as the projector would have left them; no Kafka is
there, and none is needed.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]  # it ships no types
from orjson import dumps

from sagahook.embedded.ports import hold_port
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook_tracker.domain.positions import Position

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
OPEN = 500
"""Webhooks more, of which the sagas still run: the long polls wait for them."""
POLLS = 1_000
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "300"))


_ROWS_SQL = """
CREATE TEMPORARY TABLE made AS
SELECT n, (n << 18) | (n & 3) << 0 AS number,
       'event-' || n AS event_id, 'correlation-' || n AS correlation_id, 'saga-' || n AS saga_id,
       CASE WHEN n % 50000 = 7 THEN 'seldom' ELSE 'source-' || n % 5 END AS source,
       CASE WHEN n % 40000 = 9 THEN 'seldom' ELSE 'type-' || n % 20 END AS event_type,
       'Saga' || n % 7 AS name,
       CASE WHEN n > {rows} THEN 'EXECUTING' WHEN n % 50 = 3 THEN 'ROLLED_BACK' ELSE 'COMPLETED' END AS state,
       now() - make_interval(secs => ({rows} + {open} - n) * 2.5) AS at
FROM generate_series(1::bigint, {rows} + {open}) AS n;

INSERT INTO tracker.webhooks (
    event_id, number, source, correlation_id, event_type, received_at, delivery_id, task_id, content_type, size, headers
)
SELECT event_id, number, source, correlation_id, event_type, at,
       CASE WHEN n % 5 = 0 THEN 'delivery-' || n END, CASE WHEN n % 5 = 0 THEN 'task-' || n END,
       'application/json', 1200, '{{"content-type":"application/json","user-agent":"bench"}}'
FROM made;

INSERT INTO tracker.standings (event_id, number, received_at, routed_at, open, completed, failed, settled_at)
SELECT event_id, number, at, at + '3 ms', (state = 'EXECUTING')::int, (state = 'COMPLETED')::int,
       (state = 'ROLLED_BACK')::int, CASE WHEN state <> 'EXECUTING' THEN at + '40 ms' END
FROM made;

INSERT INTO tracker.routes (event_id, number, outcome, sagas, errors, routed_at)
SELECT event_id, number, 'triggered', json_build_array(json_build_object('saga_id', saga_id, 'name', name)), '[]', at
FROM made;

INSERT INTO tracker.asked (saga_id, event_id, name, correlation_id, asked_at)
SELECT saga_id, event_id, name, correlation_id, at FROM made;

INSERT INTO tracker.links (event_id, saga_id, run, correlation_id, linked_at)
SELECT event_id, saga_id, 1, correlation_id, at FROM made;

INSERT INTO tracker.runs (
    saga_id, run, number, sequence, name, version, state, context, total_steps, steps, completed_steps, error, source,
    correlation_id, event_id, attributes, started_at, updated_at, finished_at
)
SELECT saga_id, 1, number, 8, name, 1, state, '{{"order":1,"note":"of a few words, as they are"}}', 3,
       '[{{"name":"one","status":"completed","attempts":1}},{{"name":"two","status":"completed","attempts":1}},'
       '{{"name":"three","status":"completed","attempts":1}}]', '["one","two","three"]',
       CASE WHEN state = 'ROLLED_BACK' THEN 'Declined: too much' END, source, correlation_id, event_id,
       CASE WHEN n % 2 = 0 THEN jsonb_build_object('repository', 'team/repository-' || n % 400, 'pr_number', n) END,
       at + '4 ms', at + '40 ms', CASE WHEN state <> 'EXECUTING' THEN at + '40 ms' END
FROM made;

INSERT INTO tracker.attempts (saga_id, run, step, phase, attempt, number, started_at, completed_at, status, duration_ms)
SELECT saga_id, 1, 'one', 'action', 1, number, at, at + '9 ms', 'completed', 9 FROM made;

INSERT INTO tracker.history (number, saga_id, run, sequence, at, type, status, state, step, progress, metadata)
SELECT number, saga_id, 1, 1, at, 'saga.started', 'running', 'EXECUTING', NULL::text, 0, '{{}}'::json
FROM made WHERE n > {recent}
UNION ALL
SELECT number + 65536, saga_id, 1, 8, at, 'saga.completed', 'completed', 'COMPLETED', NULL, 1, '{{}}'::json
FROM made WHERE n > {recent};

INSERT INTO tracker.rollups (minute, kind, source, type, outcome, count, total_ms)
SELECT minute, 'webhook', source, event_type, lower(state), count(*), 40 * count(*)
FROM made CROSS JOIN LATERAL (VALUES (date_trunc('minute', at)), ('-infinity'::timestamptz)) AS minutes (minute)
GROUP BY minute, source, event_type, state
UNION ALL
SELECT minute, 'saga', source, name, lower(state), count(*), 40 * count(*)
FROM made CROSS JOIN LATERAL (VALUES (date_trunc('minute', at)), ('-infinity'::timestamptz)) AS minutes (minute)
GROUP BY minute, source, name, state;

INSERT INTO tracker.offsets (topic, partition, next_offset)
SELECT topic, partition, ({rows} + {open} + 1) * 4
FROM unnest(ARRAY['sagahook.webhooks.received', 'sagahook.saga.events']) AS topic, generate_series(0, 3) AS partition;
"""

_INDEXES = """
SELECT indexname, indexdef
FROM pg_indexes
WHERE schemaname = 'tracker' AND indexname NOT LIKE 'history%' AND indexname NOT LIKE 'audit%'
  AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
"""Made after the rows: that takes a fraction of the time."""

_Ask = Callable[[], str]


async def main() -> None:
    print(f"{ROWS:,} webhooks; load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores before the run")
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder))
        try:
            await postgres.start()
            await _fill(postgres.url)
            key = secrets.token_hex()
            async with _api(postgres.url, key) as (url, process):
                headers = {"Authorization": f"Bearer {key}"}
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(url, headers=headers, connector=connector) as http:
                    await _measure_pages(http)
                    await _measure_polls(http, postgres.url, process.pid)
        finally:
            await postgres.stop()


async def _measure_pages(http: aiohttp.ClientSession) -> None:
    for name, ask in (_BY_ID | _LISTS).items():
        for _ in range(20):
            await _time(http, ask())
        took = [await _time(http, ask()) for _ in range(REQUESTS)]
        cuts = quantiles(took, n=100)
        aim = 10 if name in _BY_ID else 50
        print(
            f"  {name:46} p50 {cuts[49]:7.1f} ms  p99 {cuts[98]:7.1f} ms  {'' if cuts[98] <= aim else f'> {aim} ms'}",
            flush=True,
        )


def _one(text: str) -> str:
    return text.replace("%s", str(random.randint(1, ROWS)))


_BY_ID: dict[str, _Ask] = {
    "webhook status by correlation id": lambda: _one(_webhook_status(random.randint(1, ROWS))),
    "saga status by id": lambda: _one("/webhooks/status/saga-%s"),
    "task status by id": lambda: _one("/api/v1/status/saga-%s"),
    "task by id": lambda: _one("/api/v1/tasks/saga-%s"),
    "history of a task": lambda: f"/api/v1/status/saga-{random.randint(ROWS * 9 // 10, ROWS)}/history",
}


def _webhook_status(number: int) -> str:
    source = "seldom" if number % 50_000 == 7 else f"source-{number % 5}"
    return f"/webhooks/{source}/status/correlation-{number}"


_E, _T = "/api/v1/webhooks/events", "/api/v1/tasks"
_LISTS: dict[str, _Ask] = {
    "events, first page": lambda: _E,
    "events, 1,000 of them": lambda: f"{_E}?limit=1000",
    "events, offset to 10,000": lambda: f"{_E}?offset={random.randint(1, 10_000)}",
    "events, offset 10,000": lambda: f"{_E}?offset=10000",
    "events, cursor anywhere": lambda: f"{_E}?cursor={random.choice(_cursors_of_events)}",
    "events, source": lambda: f"{_E}?source=source-{random.randint(0, 4)}",
    "events, seldom source": lambda: f"{_E}?source=seldom",
    "events, type": lambda: f"{_E}?event_type=type-{random.randint(0, 19)}",
    "events, seldom type": lambda: f"{_E}?event_type=seldom",
    "events, source and type that never meet": lambda: f"{_E}?source=source-1&event_type=type-2",
    "events, processed": lambda: f"{_E}?processed=true",
    "events, processed, offset 10,000": lambda: f"{_E}?processed=true&offset=10000",
    "events, processed, seldom source": lambda: f"{_E}?processed=true&source=seldom",
    "events, not processed": lambda: f"{_E}?processed=false",
    "events, not processed, seldom source": lambda: f"{_E}?processed=false&source=seldom",
    "events, correlation id": lambda: _one(f"{_E}?correlation_id=correlation-%s"),
    "events, delivery id": lambda: f"{_E}?delivery_id=delivery-{random.randint(1, ROWS // 5) * 5}",
    "events, task id": lambda: _one(f"{_E}?task_id=saga-%s"),
    "events, before a time": lambda: f"{_E}?received_before={_time_ago(random.randint(1, ROWS))}",
    "tasks, first page": lambda: _T,
    "tasks, 1,000 of them": lambda: f"{_T}?limit=1000",
    "tasks, offset to 10,000": lambda: f"{_T}?offset={random.randint(1, 10_000)}",
    "tasks, offset 10,000": lambda: f"{_T}?offset=10000",
    "tasks, cursor anywhere": lambda: f"{_T}?cursor={random.choice(_cursors_of_tasks)}",
    "tasks, completed": lambda: f"{_T}?status=completed",
    "tasks, failed": lambda: f"{_T}?status=failed",
    "tasks, running": lambda: f"{_T}?status=running",
    "tasks, pending": lambda: f"{_T}?status=pending",
    "tasks, type": lambda: f"{_T}?task_type=Saga{random.randint(0, 6)}",
    "tasks, type and failed": lambda: f"{_T}?status=failed&task_type=Saga{random.randint(0, 6)}",
    "tasks, no such type": lambda: f"{_T}?task_type=Nothing",
    "tasks, repository": lambda: f"{_T}?repository={_repository()}",
    "tasks, repository and failed": lambda: f"{_T}?status=failed&repository={_repository()}",
    "tasks, attribute": lambda: f"{_T}?attribute=pr_number:{random.randint(1, ROWS // 2) * 2}",
    "tasks, frequent attribute": lambda: f"{_T}?attribute=repository:{_repository()}",
    "tasks, correlation id": lambda: _one(f"{_T}?correlation_id=correlation-%s"),
    "sagas, first page": lambda: "/api/v1/sagas",
    "sagas, failed": lambda: "/api/v1/sagas?state=ROLLED_BACK",
    "recent events": lambda: "/api/v1/status/events/recent",
    "metrics": lambda: "/api/v1/metrics",
    "stats of 24 hours": lambda: "/api/v1/admin/stats",
}

_cursors_of_events: list[str] = []
_cursors_of_tasks: list[str] = []


def _repository() -> str:
    return f"team/repository-{random.randint(0, 199) * 2}"


def _time_ago(rows: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 2.5 * rows))


async def _time(http: aiohttp.ClientSession, path: str) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    async with http.get(path) as response:
        body = await response.read()
        assert response.status == 200, (path, body)
    return (time.perf_counter() - began) * 1_000


async def _measure_polls(http: aiohttp.ClientSession, url: str, pid: int) -> None:
    """POLLS wait at once, for OPEN webhooks; then one notification names some of them, and one everybody."""
    process = psutil.Process(pid)
    idle = process.memory_info().rss
    connection = await asyncpg.connect(url)
    try:
        numbers = [ROWS + 1 + number % OPEN for number in range(POLLS)]
        waiting = [asyncio.create_task(_poll(http, number)) for number in numbers]
        while await _open_connections(http) < POLLS:  # noqa: ASYNC110  # it is another process's
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        held = process.memory_info().rss
        connections = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        ended = time.perf_counter()
        await _end_all(connection)
        answers = await asyncio.gather(*waiting)
        seconds = [after - ended for after in answers]
        peak = process.memory_info().rss
    finally:
        await connection.close()
    before, waited, after = (memory / 1024**2 for memory in (idle, held, peak))
    print(
        f"  {POLLS:,} long polls at once: {waited:.0f} MB resident; {before:.0f} before, {after:.0f} after all woke"
    )
    print(f"    {connections} connections to PostgreSQL, its pool and the one that listens")
    print(f"    {max(seconds) * 1_000:.0f} ms from the notification to the last answer", flush=True)


async def _poll(http: aiohttp.ClientSession, number: int) -> float:
    """When its answer came."""
    async with http.get(f"{_webhook_status(number)}?wait=30") as response:
        body = await response.json()
        assert body["status"] == "completed", body
    return time.perf_counter()


async def _open_connections(http: aiohttp.ClientSession) -> int:
    async with http.get("/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith("sagahook_http_connections "):
                return int(float(line.split()[1]))
    return 0


async def _end_all(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("UPDATE tracker.runs SET state = 'COMPLETED' WHERE state = 'EXECUTING'")
        await connection.execute(
            "UPDATE tracker.standings SET open = 0, completed = 1, settled_at = now() WHERE NOT processed"
        )
        await connection.execute("""SELECT pg_notify('sagahook_tracker', '{"ids": null, "offsets": {}}')""")


async def _fill(url: str) -> None:
    await _run(url, "migrate")
    began = time.perf_counter()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """
            DO $$ BEGIN FOR day IN 0 .. 40 LOOP
                EXECUTE format(
                    'CREATE TABLE tracker.history_p%s PARTITION OF tracker.history FOR VALUES FROM (%L) TO (%L)',
                    to_char(current_date + 1 - day, 'YYYYMMDD'), (current_date + 1 - day)::timestamp AT TIME ZONE 'UTC',
                    (current_date + 2 - day)::timestamp AT TIME ZONE 'UTC');
            END LOOP; END $$
            """
        )
        indexes = await connection.fetch(_INDEXES)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX tracker.{name}")
        await connection.execute(_ROWS_SQL.format(rows=ROWS, open=OPEN, recent=ROWS * 9 // 10))
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM (ANALYZE)")
        await _make_cursors(connection)
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    print(f"  rows made in {time.perf_counter() - began:.0f} s; {size / 1024**3:.1f} GB", flush=True)


async def _make_cursors(connection: asyncpg.Connection) -> None:
    for table, at, cursors in (
        ("webhooks", "received_at", _cursors_of_events),
        ("runs", "started_at", _cursors_of_tasks),
    ):
        rows = await connection.fetch(
            f"SELECT {at}::text AS at, number FROM tracker.{table} WHERE number % 499 = 0 LIMIT 500"  # noqa: S608
        )
        cursors += [Position(row["at"], row["number"]).cursor() for row in rows]


@asynccontextmanager
async def _api(url: str, key: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    held = hold_port()
    keys = dumps({"admin": sha256(key.encode()).hexdigest()}).decode()
    process = await _start(url, "api", SAGAHOOK_HTTP_PORT=str(held.number), SAGAHOOK_API_KEYS=keys)
    base = f"http://127.0.0.1:{held.number}"
    try:
        await _until_ready(base, process)
        yield base, process
    finally:
        process.terminate()
        await process.wait()
        held.release()


async def _until_ready(base: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession(base) as http:
        while process.returncode is None:
            try:
                async with http.get("/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError("the API ended before it was ready")


async def _run(url: str, command: str) -> None:
    process = await _start(url, command)
    assert await process.wait() == 0, f"{command} failed"


def _start(url: str, command: str, **settings: str) -> Awaitable[asyncio.subprocess.Process]:
    environment: dict[str, Any] = {
        **os.environ,
        "SAGAHOOK_KAFKA": "127.0.0.1:9",
        "DATABASE_URL": url,
        "LOG_LEVEL": "ERROR",
        "SAGAHOOK_API_RATE_LIMIT": "none",
        "SAGAHOOK_OPEN_RATE_LIMIT": "none",
        **settings,
    }
    return asyncio.create_subprocess_exec(sys.executable, "-m", "sagahook_tracker", command, env=environment)


if __name__ == "__main__":
    asyncio.run(main())
