"""Outbound webhooks, durable and with every attempt logged, against a bare aiohttp client that posts the same bodies.

One notifier process with its defaults, 100 endpoints at one receiver in a process of its own, a backlog that is stored
at once. A delivery counts when its attempt is recorded; both take turns, and use the same receiver. Then: what a dead
endpoint beside the hundred costs the others, and how long an event takes to its receiver at 50 a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import asyncpg
from aiokafka import AIOKafkaProducer

from sagahook.embedded.ports import free_port
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_notifier.adapters.schema import MIGRATIONS, SCHEMA
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of, saga_event_id
from sagahook_schemas.sagas import SagaStarted
from sagahook_schemas.topics import SAGA_EVENTS

PARTITIONS = 4
ENDPOINTS = 100
BODY_BYTES = 600
CONCURRENCY = 256
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # the specification's own example
_SECONDS = 60.0


async def measure(
    bootstrap: str, postgres_url: str, *, rounds: int = 3, count: int = 10_000
) -> dict[str, Any]:
    """`ratio` of `deliveries_per_second` to `bare_posts_per_second` (medians); `dead_endpoint_costs`: the share of the
    others' speed; `event_to_receiver_p50_ms` and p99 at 50 a second."""
    async with _receiver() as port, _deployment(bootstrap, postgres_url) as (environment, prefix, pool):
        ours: list[float] = []
        bare: list[float] = []
        beside_dead: list[float] = []
        async with _notifier(environment, port, pool):
            await _backlog(pool, port, count // 4)
            for turn in range(rounds):
                bare.append(await _bare(port, count))
                # In turn the first and the second, because what the machine does else comes and goes.
                for dead in (bool(turn % 2), not turn % 2):
                    (beside_dead if dead else ours).append(await _backlog(pool, port, count, dead=dead))
            latencies = await _latencies(bootstrap, prefix, pool)
    return {
        "ratio": round(median(ours) / median(bare), 3),
        "deliveries_per_second": round(median(ours)),
        "bare_posts_per_second": round(median(bare)),
        "dead_endpoint_costs": round(1 - median(beside_dead) / median(ours), 3),
        "event_to_receiver_p50_ms": round(latencies[len(latencies) // 2], 1),
        "event_to_receiver_p99_ms": round(latencies[len(latencies) * 99 // 100], 1),
    }


@asynccontextmanager
async def _receiver() -> AsyncIterator[int]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.receiver", str(port))
    try:
        await _until(lambda: asyncio.to_thread(_counted, port))
        yield port
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _deployment(
    bootstrap: str, postgres_url: str
) -> AsyncIterator[tuple[dict[str, str], str, asyncpg.Pool]]:
    """Topics and a database of their own."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    database = prefix.replace("-", "_")
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {database}")
    url = urlsplit(postgres_url)._replace(path=f"/{database}").geturl()
    try:
        await migrate(url, SCHEMA, MIGRATIONS)
        async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
            yield _environment(bootstrap, prefix, url), prefix, pool
    finally:
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.close()


def _environment(bootstrap: str, prefix: str, url: str) -> dict[str, str]:
    return os.environ | {
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "DATABASE_URL": url,
        "SAGAHOOK_SECRET_KEY": uuid.uuid4().hex,
        "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "true",
        "LOG_LEVEL": "ERROR",
    }


@asynccontextmanager
async def _notifier(environment: dict[str, str], port: int, pool: asyncpg.Pool) -> AsyncIterator[None]:
    """`latency` hears of every saga; the others get what `_backlog` stores. `dead` refuses connections."""
    endpoints = [
        {"id": f"hook-{number}", "url": f"http://127.0.0.1:{port}/{number}", "event_types": ["task_failed"]}
        for number in range(ENDPOINTS)
    ]
    endpoints.append(
        {"id": "dead", "url": f"http://127.0.0.1:{free_port()}/", "event_types": ["task_failed"]}
    )
    latency = free_port()
    endpoints.append(
        {"id": "latency", "url": f"http://127.0.0.1:{latency}/", "event_types": ["task_started"]}
    )
    environment = environment | {
        "SAGAHOOK_ENDPOINTS": json.dumps([each | {"secret": _SECRET} for each in endpoints])
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sagahook_notifier", "run", env=environment
    )
    try:
        # The last of them.
        await _until(
            lambda: pool.fetchval("SELECT EXISTS (SELECT FROM notifier.endpoints WHERE id = 'latency')")
        )
        yield
    finally:
        process.terminate()
        await process.wait()


async def _backlog(pool: asyncpg.Pool, port: int, count: int, *, dead: bool = False) -> float:
    """Deliveries a second to the hundred endpoints, from the first that arrives to the last that is recorded. dead:
    there is as much for an endpoint that is down."""
    await asyncio.to_thread(_counted, port)
    mark = uuid.uuid4().hex[:8]
    ids = [f"hook-{number % ENDPOINTS}" for number in range(count)]
    if dead:
        ids += ["dead"] * (count // ENDPOINTS)
    body = json.dumps({"type": "task_failed", "data": "x" * (BODY_BYTES - 60)}).encode()
    await pool.execute(
        """
        INSERT INTO notifier.deliveries (
            id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, status, attempts, claimable_at,
            created_at
        )
        SELECT gen_random_uuid()::text, endpoint, $2, 'task_failed', 's', 1, 'c', $3, 'pending', 0, now(), now()
        FROM unnest($1::text[]) AS endpoint
        """,
        ids,
        mark,
        body,
    )
    left = "SELECT count(*) = 0 FROM notifier.deliveries WHERE status = 'pending' AND endpoint_id <> 'dead'"
    await _until(lambda: pool.fetchval(left))
    ended = await pool.fetchval(
        "SELECT extract(epoch FROM max(finished_at)) FROM notifier.deliveries"
        " WHERE event_id = $1 AND endpoint_id <> 'dead'",
        mark,
    )
    counted = await asyncio.to_thread(_counted, port)
    if counted["count"] != count:
        raise RuntimeError(f"{counted['count']} of {count} deliveries arrived")
    await pool.execute("DELETE FROM notifier.deliveries WHERE endpoint_id = 'dead'")
    await pool.execute("DELETE FROM notifier.endpoint_health")
    return float(count / (float(ended) - counted["first"]))


async def _bare(port: int, count: int) -> float:
    arguments = (f"http://127.0.0.1:{port}/", str(count), str(BODY_BYTES), str(CONCURRENCY))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare_client", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return float(said)


async def _latencies(bootstrap: str, prefix: str, pool: asyncpg.Pool, count: int = 500) -> Sequence[float]:
    """Milliseconds from Kafka's acknowledgement of an event to the request about it, sorted."""
    url = await pool.fetchval("SELECT url FROM notifier.endpoints WHERE id = 'latency'")
    arrived: dict[str, float] = {}
    acknowledged: dict[str, float] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            arrived[body["data"]["task_id"]] = time.perf_counter()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", urlsplit(url).port)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for number in range(count):
            saga = f"s-{number}"
            await _write(producer, prefix, saga)
            acknowledged[saga] = time.perf_counter()
            await asyncio.sleep(1 / 50)
        await _until(lambda: _same(len(arrived), count))
    server.close()
    return sorted((arrived[saga] - acknowledged[saga]) * 1000 for saga in acknowledged)


async def _write(producer: AIOKafkaProducer, prefix: str, saga: str) -> None:
    event = SagaStarted(
        name="order",
        version=1,
        definition_hash="h",
        source="orders",
        event_id=f"event-{saga}",
        correlation_id="c",
        context={},
        total_steps=1,
    )
    envelope = Envelope(
        id=saga_event_id(saga, 1, 1),
        source="/sagahook/saga-runner",
        type=event.ce_type,
        time=datetime.now(UTC),
        subject="order",
        saga_id=saga,
        run=1,
        sequence=1,
    )
    await producer.send_and_wait(
        SAGA_EVENTS.name(prefix),
        key=saga.encode(),
        value=event.to_json(),
        headers=envelope.to_headers(),
        partition=partition_of(saga, PARTITIONS),
    )


def _counted(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return dict(json.load(answer))


async def _same(got: int, wanted: int) -> bool:
    return got == wanted


async def _until(condition: Any) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                if await condition():
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2])), indent=2))
