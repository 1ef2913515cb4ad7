"""The projector from a backlog: events of the log that become rows in a second, against bare upserts of the same rows.

One projector process with its defaults, four partitions, three-step sagas that completed: each is a webhook, its
route and eight events of its log, written in transactions as the runner writes them. bench/bare_rows.py says what the
bare upserts are. The two are measured in turn, each round on databases of its own.

    python -m bench.projection [ROUNDS]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from bench import bare_rows
from bench.broker import long_lived_broker
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, Header
from sagahook_schemas.identity import idempotency_key, partition_of, saga_event_id, saga_id
from sagahook_schemas.sagas import SagaCompleted, SagaStarted
from sagahook_schemas.steps import StepCompleted, StepScheduled
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from sagahook_schemas.webhooks import RoutedSaga, WebhookRouted, received_envelope
from sagahook_tracker.adapters.partitions import make_partitions
from sagahook_tracker.adapters.schema import MIGRATIONS
from sagahook_tracker.settings import TrackerSettings

PARTITIONS = 4
SAGAS = 5_000
STEPS = ("one", "two", "three")
EVENTS = SAGAS * (2 + 2 + 2 * len(STEPS))
_SAGAS_IN_TRANSACTION = 250

_Message = tuple[str, str, bytes, list[Header]]
"""topic, key, value, headers"""


async def measure(bootstrap: str, postgres_url: str, rounds: int = 3) -> dict[str, float]:
    """Medians of the rounds; `ratio` is that of each round's two rates."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    ends = await _write_backlog(bootstrap, prefix)
    async with _database(postgres_url) as url:
        writes = await bare_rows.record(_settings(bootstrap, prefix, url), ends)
    projected, bare = [], []
    for _ in range(rounds):
        async with _database(postgres_url) as url:
            seconds, events = await _project(bootstrap, prefix, url, ends)
        projected.append(events / seconds)
        async with _database(postgres_url) as url:
            bare.append(EVENTS / await bare_rows.write(_settings(bootstrap, prefix, url), writes))
    return {
        "projected_events_per_second": median(projected),
        "projected_sagas_per_second": median(projected) / (EVENTS / SAGAS),
        "bare_events_per_second": median(bare),
        "ratio": median(ours / theirs for ours, theirs in zip(projected, bare, strict=True)),
    }


@asynccontextmanager
async def _database(postgres_url: str) -> AsyncIterator[str]:
    """With the tracker's tables and today's partitions; dropped afterwards."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        await migrate(url, "tracker", MIGRATIONS)
        connection = await asyncpg.connect(url)
        await make_partitions(connection, "tracker", [datetime.now(UTC).date()])
        await connection.close()
        yield url
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def _settings(bootstrap: str, prefix: str, url: str) -> TrackerSettings:
    return TrackerSettings(kafka=bootstrap, topic_prefix=prefix, database_url=SecretStr(url))


async def _project(
    bootstrap: str, prefix: str, url: str, ends: dict[TopicPartition, int]
) -> tuple[float, float]:
    """Seconds from the first transaction that was seen to the last, and the events in between."""
    environment = {
        **os.environ,
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "DATABASE_URL": url,
        "LOG_LEVEL": "WARNING",
    }
    projector = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sagahook_tracker", "project", env=environment
    )
    connection = await asyncpg.connect(url)
    try:
        total = sum(ends.values())
        first, at_first = 0.0, 0
        while True:
            done = await connection.fetchval(
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM tracker.offsets"
            )
            now = time.perf_counter()
            if done and not first:
                first, at_first = now, done
            if done >= total:
                return now - first, EVENTS * (done - at_first) / total
            assert projector.returncode is None, "the projector ended"
            await asyncio.sleep(0.02)
    finally:
        await connection.close()
        projector.terminate()
        await projector.wait()


async def _write_backlog(bootstrap: str, prefix: str) -> dict[TopicPartition, int]:
    """Where each partition ends."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=prefix, linger_ms=5, max_batch_size=262_144
    )
    async with producer:
        for start in range(0, SAGAS, _SAGAS_IN_TRANSACTION):
            async with producer.transaction():
                for number in range(start, start + _SAGAS_IN_TRANSACTION):
                    for topic, key, value, headers in _story(prefix, number):
                        partition = partition_of(key, PARTITIONS)
                        await producer.send(
                            topic, value, key=key.encode(), headers=headers, partition=partition
                        )
    topics = (WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, SAGA_EVENTS)
    partitions = [
        TopicPartition(topic.name(prefix), number) for topic in topics for number in range(PARTITIONS)
    ]
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return ends


def _story(prefix: str, number: int) -> Iterator[_Message]:
    event, correlation = f"event-{number:08}", f"correlation-{number:08}"
    saga, now = saga_id("noop", "Noop", event), datetime.now(UTC)
    received = received_envelope(
        event_id=event,
        source="noop",
        event_type="",
        time=now,
        correlation_id=correlation,
        content_type="application/json",
    )
    yield WEBHOOKS_RECEIVED.name(prefix), event, b"x" * 500, received.to_headers()
    route = WebhookRouted(source="noop", outcome="triggered", sagas=(RoutedSaga(saga_id=saga, name="Noop"),))
    routed = _envelope(route, now, id=f"{event}/routed", subject=event, correlation_id=correlation)
    yield WEBHOOKS_ROUTED.name(prefix), event, route.to_json(), routed.to_headers()
    for sequence, data in enumerate(_log(event, correlation, saga, now), start=1):
        envelope = _envelope(
            data,
            now,
            id=saga_event_id(saga, 1, sequence),
            subject="Noop",
            correlation_id=correlation,
            saga_id=saga,
            run=1,
            sequence=sequence,
            epoch=1,
        )
        yield SAGA_EVENTS.name(prefix), saga, data.to_json(), envelope.to_headers()


def _log(event: str, correlation: str, saga: str, now: datetime) -> Iterator[Contract]:
    yield SagaStarted(
        name="Noop",
        version=1,
        definition_hash="0123456789abcdef",
        source="noop",
        event_id=event,
        correlation_id=correlation,
        context={"id": event, "note": "x" * 100},
        total_steps=len(STEPS),
    )
    for name in STEPS:
        key = idempotency_key(saga, 1, name, "action")
        yield StepScheduled(step=name, phase="action", attempt=1, idempotency_key=key, times_out_at=now)
        yield StepCompleted(step=name, phase="action", attempt=1, result={"ok": True}, duration_ms=3)
    yield SagaCompleted(name="Noop")


def _envelope(data: Contract, now: datetime, **attributes: Any) -> Envelope:
    return Envelope(source="/sagahook/saga-runner", type=data.ce_type, time=now, **attributes)


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder))
        await postgres.start()
        try:
            async with long_lived_broker() as kafka:
                figures = await measure(kafka.bootstrap, postgres.url, rounds)
        finally:
            await postgres.stop()
    for name, value in figures.items():
        print(f"{name:32} {value:,.2f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
