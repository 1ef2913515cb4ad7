"""Drives real saga-runner processes: publishes webhooks, reads the saga log, sends signals."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from orjson import dumps, loads

from sagahook.runtime.ids import new_event_id
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_EVENTS, WEBHOOKS_RECEIVED, Topic
from sagahook_schemas.webhooks import received_envelope
from tests.earlier import ROOT
from tests.preforked import Preforked, start_service

PARTITIONS = 2
FINAL = frozenset(f"sagahook.saga.{end}.v1" for end in ("completed", "rolled_back", "failed", "suspended"))


@dataclass(frozen=True)
class LogEvent:
    """One record of the saga log."""

    envelope: Envelope
    partition: int
    offset: int
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """`saga.started`, `step.scheduled`, …"""
        return self.envelope.type.removeprefix("sagahook.").removesuffix(".v1")


@dataclass
class RunnerHarness:
    """One deployment's runners. `folder`: where logs and effects go. `partitions`: of its topics."""

    bootstrap: str
    prefix: str
    folder: Path
    app: str = "tests.apps.effects"
    settings: dict[str, str] = field(default_factory=dict)
    partitions: int = PARTITIONS
    processes: list[Preforked] = field(default_factory=list)

    @property
    def effects_file(self) -> Path:
        return self.folder / "effects"

    async def start_runner(self, **settings: str) -> Preforked:
        return await self.start_version(ROOT, **settings)

    async def start_version(self, tree: Path, /, **settings: str) -> Preforked:
        """tree: where its version is; see `tests.preforked`."""
        number = len(self.processes)
        environment = {
            **os.environ,
            "SAGAHOOK_KAFKA": self.bootstrap,
            "SAGAHOOK_TOPIC_PREFIX": self.prefix,
            "SAGAHOOK_APP": self.app,
            "SAGAHOOK_INSTANCE": f"runner-{number}",
            "SAGAHOOK_SESSION_TIMEOUT": "2",
            "SAGAHOOK_HEARTBEAT": "0.3",
            "EFFECTS_FILE": str(self.effects_file),
            **self.settings,
            **settings,
        }
        log = self.folder / f"runner-{number}.log"
        process = await start_service("sagahook_runner", env=environment, log=log, tree=tree)
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                await process.wait()

    async def publish(self, bodies: Iterable[object], source: str = "effects") -> list[str]:
        """Put webhooks into the log as ingest does; their event ids."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            ids, sent = [], []
            for body in bodies:
                event_id = new_event_id()
                envelope = received_envelope(
                    event_id=event_id,
                    source=source,
                    event_type="",
                    time=datetime.now(UTC),
                    correlation_id=event_id,
                    content_type="application/json",
                )
                sent.append(
                    await producer.send(
                        WEBHOOKS_RECEIVED.name(self.prefix),
                        key=event_id.encode(),
                        value=dumps(body),
                        headers=envelope.to_headers(),
                        partition=partition_of(event_id, self.partitions),
                    )
                )
                ids.append(event_id)
            await asyncio.gather(*sent)
            return ids
        finally:
            await producer.stop()

    @asynccontextmanager
    async def reader(self, topic: Topic = SAGA_EVENTS) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic.name(self.prefix), p) for p in range(self.partitions)])
            await consumer.seek_to_beginning()
            yield consumer
        finally:
            await consumer.stop()

    async def read_until_final(self, sagas: int, seconds: float = 60) -> list[LogEvent]:
        """The saga log until so many sagas ended (or were suspended)."""
        events: list[LogEvent] = []
        ended: set[str] = set()
        async with self.reader() as consumer:
            try:
                async with asyncio.timeout(seconds):
                    while len(ended) < sagas:
                        for event in await poll(consumer):
                            events.append(event)
                            if event.envelope.type in FINAL:
                                ended.add(event.envelope.saga_id)
            except TimeoutError:
                raise AssertionError(
                    f"{len(ended)} of {sagas} sagas ended in {seconds} s; kinds: {Counter(e.kind for e in events)}"
                ) from None
        return events

    async def wait_for_log(self, kind: str, count: int = 1, seconds: float = 60) -> list[LogEvent]:
        """The saga log until it holds so many events of a kind."""
        events: list[LogEvent] = []
        async with self.reader() as consumer, asyncio.timeout(seconds):
            while sum(event.kind == kind for event in events) < count:
                events.extend(await poll(consumer))
        return events

    async def wait_for_effects(self, lines: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while len(self.effects()) < lines:
                await asyncio.sleep(0.02)

    def effects(self) -> list[str]:
        return self.effects_file.read_text().splitlines() if self.effects_file.exists() else []

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("runner-*.log")))


@asynccontextmanager
async def open_runners(
    bootstrap: str,
    prefix: str,
    folder: Path,
    *,
    app: str = "tests.apps.effects",
    settings: Mapping[str, str] = MappingProxyType({}),
    partitions: int = PARTITIONS,
) -> AsyncIterator[RunnerHarness]:
    """Of a deployment with new topics. As `RunnerHarness`; what was started is stopped at the end."""
    await ensure_topics(bootstrap, prefix, partitions)
    harness = RunnerHarness(bootstrap, prefix, folder, app, dict(settings), partitions)
    try:
        yield harness
    finally:
        await harness.stop()


async def poll(consumer: AIOKafkaConsumer) -> list[LogEvent]:
    polled: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(timeout_ms=100)
    return [
        LogEvent(
            Envelope.from_headers(record.headers),
            record.partition,
            record.offset,
            loads(record.value),
        )
        for records in polled.values()
        for record in records
    ]
