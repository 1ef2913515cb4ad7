"""The saga log as programs downstream of it meet it: what a runner wrote, what was aborted, and what a later release
wrote after it."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of, saga_event_id, saga_id
from sagahook_schemas.sagas import SagaCompleted, SagaRolledBack, SagaStarted
from sagahook_schemas.topics import SAGA_EVENTS
from tests.runner_harness import PARTITIONS, RunnerHarness

PATIENCE = 200.0
ENDS = {
    "sagahook.saga.completed.v1": "completed",
    "sagahook.saga.rolled_back.v1": "rolled back",
    "sagahook.saga.failed.v1": "failed",
}


@dataclass(frozen=True)
class Record:
    """One that a reader at `read_committed` sees."""

    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: str

    @property
    def id(self) -> str:
        return self.headers["ce_id"]

    @property
    def kind(self) -> str:
        return self.headers["ce_type"]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.value)
        return data


@dataclass
class DownstreamLog:
    bootstrap: str
    prefix: str
    folder: Path
    seen: list[Record] = field(default_factory=list)
    """In the order of each partition."""

    @property
    def topic(self) -> str:
        return SAGA_EVENTS.name(self.prefix)

    async def append(self, records: Iterable[dict[str, Any]], *, commit: bool) -> None:
        """As an owner writes: in one transaction, to the partition of each key."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=f"{self.prefix}-later")
        await producer.start()
        try:
            await producer.begin_transaction()
            for record in records:
                await producer.send(
                    self.topic,
                    key=record["key"].encode(),
                    value=record["value"].encode(),
                    headers=[(name, value.encode()) for name, value in record["headers"].items()],
                    partition=partition_of(record["key"], PARTITIONS),
                )
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    async def append_sagas(self, source: str, numbers: Iterable[int]) -> None:
        """Each with its start and its end in a transaction; every third is rolled back."""
        for number in numbers:
            key = saga_id(source, "small", str(number))
            started = SagaStarted(
                name="small",
                version=1,
                definition_hash="f00d",
                source=source,
                event_id="e",
                correlation_id="c",
                context={},
                total_steps=1,
            )
            ended = SagaRolledBack(name="small", failed_step="only", error="no") if number % 3 == 0 else None
            log = (started, ended or SagaCompleted(name="small"))
            await self.append([as_written(key, at, event) for at, event in enumerate(log, 1)], commit=True)

    async def see(self, ended: int) -> None:
        """Reads it until so many sagas ended."""
        self.seen = []
        harness = RunnerHarness(self.bootstrap, self.prefix, self.folder)
        async with harness.reader() as consumer, asyncio.timeout(PATIENCE):
            while sum(record.kind in ENDS for record in self.seen) < ended:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    self.seen += [
                        Record(
                            each.partition,
                            each.offset,
                            each.key.decode(),
                            {name: value.decode() for name, value in each.headers},
                            each.value.decode(),
                        )
                        for each in records
                    ]

    def outcomes(self) -> dict[str, str]:
        """How each ended, by the id of the event that says so."""
        return {record.id: ENDS[record.kind] for record in self.seen if record.kind in ENDS}

    def by_source(self) -> dict[str, Counter[str]]:
        sources = {
            record.key: record.data["source"]
            for record in self.seen
            if record.kind == "sagahook.saga.started.v1"
        }
        found: dict[str, Counter[str]] = {}
        for record in self.seen:
            if outcome := ENDS.get(record.kind):
                succeeded = "succeeded" if outcome == "completed" else "failed"
                found.setdefault(sources[record.key], Counter())[succeeded] += 1
        return found

    async def is_committed(self, group: str) -> bool:
        """Whether the group has done with everything that is to be seen."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            committed = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # the broker's first group: its topic is being made
            return False
        finally:
            await admin.close()
        done = {place: found.offset for place, found in committed.items()}
        return all(
            done.get(TopicPartition(self.topic, record.partition), 0) > record.offset for record in self.seen
        )

    @asynccontextmanager
    async def program(self, module: str, *arguments: str, **environment: str) -> AsyncIterator["Program"]:
        """One of the examples, stopped by SIGTERM after the block."""
        folder = self.folder / f"{module}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"sagahook_consuming.{module}", *arguments),
                cwd=folder,
                env={**os.environ, "KAFKA": self.bootstrap, "PREFIX": self.prefix, **environment},
                stdout=out,
                stderr=log,
            )
        program = Program(process, folder)
        try:
            yield program
        finally:
            await program.stop()


def as_written(
    key: str, sequence: int, event: Contract, extensions: tuple[tuple[str, str], ...] = ()
) -> dict[str, Any]:
    """One event of a saga's first run, as an owner encodes it."""
    envelope = Envelope(
        id=saga_event_id(key, 1, sequence),
        source="/sagahook/saga-runner",
        type=event.ce_type,
        time=datetime.now(UTC),
        subject="any",
        correlation_id="c",
        saga_id=key,
        run=1,
        sequence=sequence,
        epoch=1,
        extensions=extensions,
    )
    headers = {name: value.decode() for name, value in envelope.to_headers()}
    return {"key": key, "headers": headers, "value": event.to_json().decode()}


@dataclass
class Program:
    process: asyncio.subprocess.Process
    folder: Path

    def printed(self) -> list[str]:
        return (self.folder / "out").read_text().splitlines()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Waits until it holds; fails with the program's log where it ends or takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await condition():
                    assert self.process.returncode is None, f"it ended with {self.process.returncode}"
                    await asyncio.sleep(0.1)
        except (TimeoutError, AssertionError) as why:
            end = (self.folder / "log").read_text()[-3000:]
            raise AssertionError(f"what was waited for did not come ({why!r})\n{end}") from None

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), PATIENCE)
            except TimeoutError:
                await self.kill()
                raise
