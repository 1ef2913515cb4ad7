"""Owners of one partition, in the test's own process."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from sagahook.runtime.clock import SystemClock
from sagahook.runtime.partition_workers import PartitionWorker, Start
from sagahook.runtime.transactions import OutRecord, OwnershipLost
from sagahook.saga import SagaApp
from sagahook_runner.adapters.execution import Executor
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_runner.domain.controls import Controls
from sagahook_runner.handlers.conductor import Conductors
from sagahook_runner.handlers.handing import Handing
from sagahook_runner.handlers.owner import PartitionOwner
from sagahook_runner.settings import RunnerSettings
from sagahook_runner.wiring import OwnersHost
from sagahook_schemas.sagas import OwnerReleased

Worker = TypeVar("Worker", bound=PartitionWorker)


class Untold:
    """What a group says of a partition: always the same, whatever it is told."""

    def __init__(self, start: Start) -> None:
        self._start = start

    async def start(self) -> Start:
        return self._start

    async def tell(self, next_offset: int, note: str) -> None: ...


async def taken_over(make: Callable[[], Worker]) -> Worker:
    """Until it goes well: a new topic may have no leader yet."""
    async with asyncio.timeout(60):
        while True:
            worker = make()
            try:
                await worker.take_over()
            except OwnershipLost:
                await worker.close()
            else:
                return worker


class Owners:
    """Of one partition, one after the other."""

    def __init__(self, kafka: str, prefix: str, app: SagaApp | None = None) -> None:
        self.handing = Handing()
        self.settings = RunnerSettings(kafka=kafka, topic_prefix=prefix, app="unused")
        self.executor = Executor(max_running=1, threads=1, forward=lambda outcome: None)
        app = app or SagaApp([])
        conductors = Conductors(app, self.executor.say)
        self._host = OwnersHost(
            self.settings,
            app,
            self.executor,
            conductors,
            SystemClock(),
            1,
            Controls(),
            self.handing,
            None,
        )

    async def take_over(self) -> PartitionOwner:
        return await taken_over(self.make)

    def make(self) -> PartitionOwner:
        return self._host.worker(0, Untold(Start(0, True)))

    def event(self) -> Sequence[OutRecord]:
        records = EventRecords(self.settings, 0, Stamp(datetime.now(UTC), 1))
        return records.owner(OwnerReleased(partition=0, epoch=1, in_flight=()), b"")[:1]
