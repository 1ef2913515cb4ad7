"""One worker for each partition that a group assigns to this process.

Rebalances are eager in aiokafka: every join takes all partitions away and gives most of them back, and no
heartbeat is sent while `on_partitions_assigned` runs. So the callbacks only pause and let go; taking over runs
beside them; and a worker whose partition comes back keeps its memory (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from sagahook.runtime.logging import get_logger
from sagahook.runtime.transactions import OwnershipLost

log = get_logger(__name__)

_LETTING_GO_SECONDS = 3.0
_BACKOFF_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

StartOffset = Callable[[], Awaitable[int]]
"""The offset the group has to read next. To be asked after the fence: an earlier answer may be overtaken."""


class PartitionWorker(Protocol):
    """What does the work of one partition. Any of its calls may raise OwnershipLost: it is then discarded."""

    async def take_over(self) -> int:
        """Fence the partition's earlier workers, restore, and say which offset to read next."""
        ...

    def deliver(self, records: Sequence[ConsumerRecord]) -> None: ...

    @property
    def is_full(self) -> bool:
        """Whether to stop reading until it has worked off what it holds."""
        ...

    @property
    def next_offset(self) -> int:
        """The offset after the last record delivered."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    async def let_go(self) -> None:
        """The partition may be about to move: write down what the next worker needs, and write no more."""
        ...

    def resume(self) -> None:
        """The partition came back."""
        ...

    async def close(self) -> None:
        """Write nothing more, give everything back."""
        ...


class PartitionHost(Protocol):
    """Makes the workers of one process."""

    def worker(self, partition: int, start_offset: StartOffset) -> PartitionWorker: ...

    def moved(self, partition: int) -> None:
        """The partition belongs to another process now."""
        ...

    async def drain(self) -> None:
        """The process is to stop: finish what is under way, within a bound, and begin nothing more."""
        ...


@dataclass(slots=True)
class _Slot:
    """One assigned partition: being taken over, `owned`, or `released` in the middle of a rebalance."""

    partition: TopicPartition
    state: Literal["taking", "owned", "released"] = "taking"
    worker: PartitionWorker | None = None
    task: asyncio.Task[None] | None = None
    paused: bool = True


class PartitionedConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads one topic in a group and runs a worker for each partition it is given.

    session_timeout, heartbeat: seconds. A process that stood still for longer than its session finds its
    workers fenced.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        topic: str,
        host: PartitionHost,
        session_timeout: float = 6.0,
        heartbeat: float = 0.5,
        max_records: int = 1000,
    ) -> None:
        self._topic = topic
        self._group = group
        self._host = host
        self._max_records = max_records
        self._slots: dict[TopicPartition, _Slot] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._joined = False
        # aiokafka keeps the sticky assignor's memory on its class, so each group needs a class of its own.
        assignor = type("GroupAssignor", (StickyPartitionAssignor,), {})
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[assignor],
            session_timeout_ms=int(session_timeout * 1000),
            heartbeat_interval_ms=int(heartbeat * 1000),
            max_partition_fetch_bytes=32 * 1024 * 1024,
            retry_backoff_ms=50,
        )

    async def run(self, stopping: asyncio.Event, on_tick: Callable[[], None]) -> None:
        """Consume until `stopping`; then drain, let go of every partition and leave the group.

        on_tick: called each time the loop turns. Raises KafkaError where the operator must act (offsets out of
        range: the log no longer holds what was not yet read).
        """
        self._consumer.subscribe([self._topic], listener=self)
        if not await self._start(stopping):
            return
        try:
            while not stopping.is_set():
                on_tick()
                await self._turn()
        finally:
            await self._stop()

    @property
    def is_settled(self) -> bool:
        """Whether the group answered and every partition it gave has a working owner."""
        return self._joined and all(slot.state == "owned" for slot in self._slots.values())

    @property
    def owned(self) -> tuple[int, ...]:
        return tuple(slot.partition.partition for slot in self._slots.values() if slot.state == "owned")

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        owned = [slot for slot in self._slots.values() if slot.state == "owned"]
        for slot in owned:
            slot.state = "released"
        await asyncio.gather(*(self._let_go(slot) for slot in owned))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._joined = True
        if assigned:
            self._consumer.pause(*assigned)
        for partition in assigned:
            # A placeholder that keeps aiokafka from looking up an offset: the worker says where to read.
            self._consumer.seek(partition, 0)
        for partition in self._slots.keys() - assigned:
            self._end(self._slots.pop(partition))
            self._host.moved(partition.partition)
        for partition in sorted(assigned):
            slot = self._slots.get(partition)
            if slot is None:
                slot = self._slots[partition] = _Slot(partition)
                slot.task = asyncio.create_task(self._own(slot), name=f"{self._group}-{partition.partition}")
            elif slot.state != "taking" and slot.worker is not None:
                slot.worker.resume()
                self._open(slot, slot.worker.next_offset)

    async def _start(self, stopping: asyncio.Event) -> bool:
        """Try until the broker is there; False where the process is to stop before."""
        attempt = 0
        while not stopping.is_set():
            try:
                await self._consumer.start()
            except (KafkaError, OSError) as away:
                log.warning("kafka.away", group=self._group, error=str(away))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _backoff(attempt))
                attempt += 1
            else:
                return True
        return False

    async def _turn(self) -> None:
        for slot in self._slots.values():
            if slot.state == "owned" and slot.worker is not None and slot.worker.is_full != slot.paused:
                # Back-pressure: a full worker's partition is not read.
                slot.paused = slot.worker.is_full
                (self._consumer.pause if slot.paused else self._consumer.resume)(slot.partition)
        # A short poll, because a partition that was just resumed is only fetched by the next one.
        polled = await self._consumer.getmany(timeout_ms=50, max_records=self._max_records)
        for partition, records in polled.items():
            owner = self._slots.get(partition)
            if owner is not None and owner.state == "owned" and owner.worker is not None:
                owner.worker.deliver(records)

    async def _own(self, slot: _Slot) -> None:
        """Keep the partition owned while it is assigned: take over, work, and after a loss take over anew."""
        attempt = 0
        while True:
            try:
                await self._confirm_assignment(slot)
                slot.worker = self._host.worker(slot.partition.partition, self._start_offset(slot.partition))
                offset = await slot.worker.take_over()
                self._open(slot, offset)
                attempt = 0
                log.info(
                    "partition.owned", group=self._group, partition=slot.partition.partition, offset=offset
                )
                await slot.worker.run()
            except (OwnershipLost, KafkaError, OSError, TimeoutError) as lost:
                log.warning(
                    "partition.lost", group=self._group, partition=slot.partition.partition, error=str(lost)
                )
            finally:
                await self._discard(slot)
            await asyncio.sleep(_backoff(attempt))
            attempt += 1

    async def _discard(self, slot: _Slot) -> None:
        slot.state, slot.paused = "taking", True
        if slot.partition in self._consumer.assignment():
            self._consumer.pause(slot.partition)
        worker, slot.worker = slot.worker, None
        if worker is not None:
            await worker.close()

    def _open(self, slot: _Slot, offset: int) -> None:
        self._consumer.seek(slot.partition, offset)
        self._consumer.resume(slot.partition)
        slot.paused, slot.state = False, "owned"

    async def _let_go(self, slot: _Slot) -> None:
        try:
            async with asyncio.timeout(_LETTING_GO_SECONDS):
                if slot.worker is not None:
                    await slot.worker.let_go()
        except Exception as lost:
            # Whatever it was, the partition moves. Nothing is lost: the next owner finds the attempts unfinished
            # and says so in the log.
            expected = isinstance(lost, TimeoutError | OwnershipLost)
            log.warning(
                "partition.not_released",
                partition=slot.partition.partition,
                error=repr(lost),
                exc_info=not expected,
            )
            self._end(slot)
            self._slots.pop(slot.partition, None)

    def _end(self, slot: _Slot) -> None:
        if slot.task is not None and not slot.task.done():
            slot.task.cancel()
            self._ending.add(slot.task)
            slot.task.add_done_callback(self._ending.discard)

    def _start_offset(self, partition: TopicPartition) -> StartOffset:
        async def ask() -> int:
            committed: int | None = await self._consumer.committed(partition)
            if committed is not None:
                return committed
            first: int = (await self._consumer.beginning_offsets([partition]))[partition]
            return first

        return ask

    async def _confirm_assignment(self, slot: _Slot) -> None:
        """A heartbeat, so that only the rightful owner fences.

        Without it a stalled process that wakes up and the owner that replaced it would fence each other in turn.
        """
        coordinator = self._consumer._coordinator  # aiokafka has no public way to ask for a heartbeat
        generation = coordinator.generation
        confirmed = await coordinator._do_heartbeat()
        rejoining = coordinator._rejoin_needed_fut.done()
        if not confirmed or rejoining or coordinator.generation != generation:
            raise OwnershipLost(f"the group does not confirm partition {slot.partition.partition}")

    async def _stop(self) -> None:
        await self._host.drain()
        slots = list(self._slots.values())
        owned = [slot for slot in slots if slot.state == "owned"]
        for slot in owned:
            slot.state = "released"
        await asyncio.gather(*(self._let_go(slot) for slot in owned))
        for slot in slots:
            self._end(slot)
            self._host.moved(slot.partition.partition)
        if self._ending:
            await asyncio.wait(self._ending)
        with contextlib.suppress(KafkaError, OSError):
            await self._consumer.stop()


def _backoff(attempt: int) -> float:
    """Seconds."""
    return _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]
