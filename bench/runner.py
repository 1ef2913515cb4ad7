"""saga-runner alone: how many sagas a second it drains, and how long one takes at a steady rate.

One runner process with its defaults, four partitions, three steps that do nothing. Every event and every result
is in the saga log when it counts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from sagahook.runtime.ids import new_event_id
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_RECEIVED
from sagahook_schemas.webhooks import received_envelope

PARTITIONS = 4
DRAINED = 20_000
RATE = 100
LATENCY_SECONDS = 10
_STARTED, _COMPLETED = b"sagahook.saga.started.v1", b"sagahook.saga.completed.v1"


async def measure(bootstrap: str) -> dict[str, float]:
    """`drained_per_second`, `cpu_ms_per_saga` of the runner process, `start_to_completed_ms` p50 and p99."""
    return {**await drain(bootstrap), **await _latency(bootstrap)}


async def drain(
    bootstrap: str,
    *,
    sagas: int = DRAINED,
    environment: Mapping[str, str] | None = None,
    traceparent: Callable[[int], str] = lambda _: "",
) -> dict[str, float]:
    """From the first saga on: what a process takes to start is not counted. environment: the runner's, beside what it
    needs. traceparent: of each webhook, by its number."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    await _publish(bootstrap, prefix, sagas, traceparent=traceparent)
    async with (
        _reader(bootstrap, prefix) as reader,
        _runner(bootstrap, prefix, environment=environment) as runner,
    ):
        first = cpu = 0.0
        completed = 0
        while completed < sagas:
            for record in await _poll(reader):
                kind = dict(record.headers)["ce_type"]
                if not first and kind == _STARTED:
                    first, cpu = time.perf_counter(), _cpu_seconds(runner.pid)
                completed += kind == _COMPLETED
        return {
            "drained_per_second": sagas / (time.perf_counter() - first),
            "cpu_ms_per_saga": (_cpu_seconds(runner.pid) - cpu) / sagas * 1000,
        }


async def _latency(bootstrap: str) -> dict[str, float]:
    """From seeing `saga.started` in the log to seeing `saga.completed`, at a steady rate."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    await ensure_topics(bootstrap, prefix, PARTITIONS)
    started: dict[bytes, float] = {}
    took: list[float] = []
    total = RATE * LATENCY_SECONDS
    async with _reader(bootstrap, prefix) as reader, _runner(bootstrap, prefix):
        await _publish(bootstrap, prefix, 1)
        while not took:
            await _take(reader, started, took)
        took.clear()
        publishing = asyncio.create_task(_publish(bootstrap, prefix, total, rate=RATE))
        while len(took) < total:
            await _take(reader, started, took)
        await publishing
    settled = sorted(took[RATE:])  # the first second warms up
    return {
        "start_to_completed_p50_ms": statistics.median(settled) * 1000,
        "start_to_completed_p99_ms": settled[int(len(settled) * 0.99)] * 1000,
    }


async def _take(reader: AIOKafkaConsumer, started: dict[bytes, float], took: list[float]) -> None:
    for record in await _poll(reader):
        kind = dict(record.headers)["ce_type"]
        if kind == _STARTED:
            started[record.key] = time.perf_counter()
        elif kind == _COMPLETED:
            took.append(time.perf_counter() - started[record.key])


async def _poll(reader: AIOKafkaConsumer) -> list[ConsumerRecord]:
    polled = await reader.getmany(timeout_ms=200, max_records=5000)
    return [record for records in polled.values() for record in records]


async def _publish(
    bootstrap: str,
    prefix: str,
    count: int,
    rate: float | None = None,
    traceparent: Callable[[int], str] = lambda _: "",
) -> None:
    """Put webhooks into the log as ingest does. rate: a second; None: at once."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=512 * 1024)
    await producer.start()
    topic = WEBHOOKS_RECEIVED.name(prefix)
    sent = []
    began = time.perf_counter()
    for number in range(count):
        if rate is not None:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        event_id = new_event_id()
        envelope = received_envelope(
            event_id=event_id,
            source="noop",
            event_type="",
            time=datetime.now(UTC),
            correlation_id=event_id,
            content_type="application/json",
            traceparent=traceparent(number),
        )
        partition = partition_of(event_id, PARTITIONS)
        sent.append(
            await producer.send(
                topic,
                key=event_id.encode(),
                value=b'{"id":"%s"}' % event_id.encode(),
                headers=envelope.to_headers(),
                partition=partition,
            )
        )
    await asyncio.gather(*sent)
    await producer.stop()


@asynccontextmanager
async def _runner(
    bootstrap: str, prefix: str, app: str = "bench.noop_app", environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    whole = {
        **os.environ,
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_APP": app,
        "LOG_LEVEL": "WARNING",
        **(environment or {}),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sagahook_runner", env=whole)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _reader(bootstrap: str, prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await reader.start()
    reader.assign([TopicPartition(SAGA_EVENTS.name(prefix), partition) for partition in range(PARTITIONS)])
    await reader.seek_to_beginning()
    try:
        yield reader
    finally:
        await reader.stop()


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:  # a file of the kernel's, never slow
        fields = stat.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
