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
from itertools import count
from typing import Any, Literal, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from sagahook.runtime.health import Status
from sagahook.runtime.kafka_reaching import answers
from sagahook.runtime.lag import watch_lag
from sagahook.runtime.logging import get_logger
from sagahook.runtime.transactions import OwnershipLost
from sagahook.saga.brokers import client_options

log = get_logger(__name__)

_CLOSING_SECONDS = 3.0
_BACKOFF_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Start(NamedTuple):
    """offset: what the group has to read next. was_committed: else it is the log's first. note: what was said when it
    was committed."""

    offset: int
    was_committed: bool
    note: str = ""


StartOffset = Callable[[], Awaitable[Start]]
"""To be asked after the fence: an earlier answer may be overtaken."""


class OffsetsLost(Exception):
    """An operator must act: the partition was read before, but how far is no longer known."""


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

    @property
    def waiting_from(self) -> int | None:
        """The offset of the first record that was delivered and not taken up yet; None: there is none."""
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
        self._bootstrap = bootstrap
        self._topic = topic
        self._group = group
        self._host = host
        self._session_timeout = session_timeout
        self._heartbeat = heartbeat
        self._max_records = max_records
        # As long as a rebalance may take is too long: the others wait for us.
        self._letting_go_seconds = min(3.0, session_timeout / 2)
        # aiokafka keeps the sticky assignor's memory on its class, so each group needs a class of its own.
        self._assignor = type("GroupAssignor", (StickyPartitionAssignor,), {})
        self._slots: dict[TopicPartition, _Slot] = {}
        self._held: set[TopicPartition] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._joined = False
        self._stopping = False
        self._consumer: Any = None

    async def run(self, stopping: asyncio.Event, on_tick: Callable[[], None]) -> None:
        """Consume until `stopping`; then drain, let go of every partition and leave the group.

        on_tick: called at least every second. Raises what a worker failed of, and KafkaError where the operator
        must act (offsets out of range: the log no longer holds what was not yet read).
        """
        reading = asyncio.create_task(self._read(), name=f"{self._group}-reading")
        watching = asyncio.create_task(watch_lag(self), name=f"{self._group}-lag")
        told = asyncio.create_task(stopping.wait())
        try:
            while not reading.done() and not told.done():
                on_tick()
                await asyncio.wait({reading, told}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            told.cancel()
            watching.cancel()
            reading.cancel()
            await asyncio.wait({reading}, timeout=_CLOSING_SECONDS)
            await self._stop()
        if reading.done() and not reading.cancelled():
            reading.result()

    async def check(self) -> Status:
        """Unhealthy while Kafka does not answer: nothing can be taken or done."""
        # aiokafka's consumer shows no client to ask.
        is_up = self._consumer is not None and await answers(self._consumer._client)
        return "healthy" if is_up else "unhealthy"

    @property
    def is_settled(self) -> bool:
        """Whether the group answered and every partition it gave has a working owner."""
        return self._joined and all(slot.state == "owned" for slot in self._slots.values())

    @property
    def owned(self) -> tuple[int, ...]:
        return tuple(slot.partition.partition for slot in self._slots.values() if slot.state == "owned")

    @property
    def group(self) -> str:
        return self._group

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        return self._consumer

    async def taken(self) -> dict[TopicPartition, int]:
        """The offset to take up next in each partition with a working owner."""
        taken = {}
        for slot in [slot for slot in self._slots.values() if slot.state == "owned"]:
            first = slot.worker.waiting_from if slot.worker is not None else None
            # The position, unlike the last record delivered, is past the ends of transactions.
            taken[slot.partition] = await self._consumer.position(slot.partition) if first is None else first
        return taken

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for slot in [slot for slot in self._slots.values() if slot.state == "taking"]:
            # It would open in the middle of the rebalance, and do what nobody would be told of.
            self._end(slot)
        owned = [slot for slot in self._slots.values() if slot.state == "owned"]
        for slot in owned:
            slot.state = "released"
        await asyncio.gather(*(self._let_go(slot) for slot in owned))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if self._stopping:
            return
        self._joined = True
        if assigned:
            self._consumer.pause(*assigned)
        for partition in assigned:
            # A placeholder that keeps aiokafka from looking up an offset: the worker says where to read.
            self._consumer.seek(partition, 0)
        for slot in [slot for slot in self._slots.values() if slot.partition not in assigned]:
            self._end(slot)
        for partition in self._held - assigned:
            self._host.moved(partition.partition)
        self._held = set(assigned)
        for partition in sorted(assigned):
            kept = self._slots.get(partition)
            if kept is None:
                slot = self._slots[partition] = _Slot(partition)
                slot.task = asyncio.create_task(self._own(slot), name=f"{self._group}-{partition.partition}")
            elif kept.worker is not None:
                kept.worker.resume()
                self._open(kept, kept.worker.next_offset)

    async def _read(self) -> None:
        await self._start()
        while True:
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
            if self._failure is not None:
                raise self._failure

    async def _start(self) -> None:
        """Try until the broker is there. A consumer that failed to start is of no more use."""
        for attempt in count():
            self._consumer = self._make_consumer()
            self._consumer.subscribe([self._topic], listener=self)
            try:
                await self._consumer.start()
                return
            except (KafkaError, OSError) as away:
                log.warning("kafka.away", group=self._group, error=str(away))
                await self._close_consumer()
                await asyncio.sleep(_backoff(attempt))

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(self._bootstrap),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=int(self._session_timeout * 1000),
            heartbeat_interval_ms=int(self._heartbeat * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            retry_backoff_ms=50,
        )

    async def _own(self, slot: _Slot) -> None:
        """Keep the partition owned while it is assigned: take over, work, and after a loss take over anew."""
        attempt = 0
        # A cancellation may be swallowed on its way through aiokafka: a slot that was ended is in the table no more.
        while self._slots.get(slot.partition) is slot:
            try:
                began = asyncio.get_running_loop().time()
                await self._confirm_assignment(slot)
                slot.worker = self._host.worker(slot.partition.partition, self._start_offset(slot.partition))
                offset = await slot.worker.take_over()
                self._open(slot, offset)
                attempt = 0
                log.info(
                    "partition.owned",
                    group=self._group,
                    partition=slot.partition.partition,
                    offset=offset,
                    seconds=round(asyncio.get_running_loop().time() - began, 3),
                )
                await slot.worker.run()
            except (OwnershipLost, KafkaError, OSError, TimeoutError) as lost:
                log.warning(
                    "partition.lost", group=self._group, partition=slot.partition.partition, error=str(lost)
                )
            except Exception as defect:
                # Neither a retry nor another replica helps: end the process loudly rather than stand still.
                self._failure = defect
                raise
            finally:
                await self._discard(slot)
            await asyncio.sleep(_backoff(attempt))
            attempt += 1

    async def _discard(self, slot: _Slot) -> None:
        slot.paused = True
        if self._slots.get(slot.partition) is slot:
            slot.state = "taking"
            if slot.partition in self._consumer.assignment():
                self._consumer.pause(slot.partition)
        worker, slot.worker = slot.worker, None
        if worker is not None:
            await worker.close()

    def _open(self, slot: _Slot, offset: int) -> None:
        if self._slots.get(slot.partition) is not slot:
            raise OwnershipLost(f"partition {slot.partition.partition} was taken away meanwhile")
        self._consumer.seek(slot.partition, offset)
        self._consumer.resume(slot.partition)
        slot.paused, slot.state = False, "owned"

    async def _let_go(self, slot: _Slot) -> None:
        try:
            async with asyncio.timeout(self._letting_go_seconds):
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

    def _end(self, slot: _Slot) -> None:
        self._slots.pop(slot.partition, None)
        if slot.task is not None and not slot.task.done():
            slot.task.cancel()
            self._ending.add(slot.task)
            slot.task.add_done_callback(self._ending.discard)

    def _start_offset(self, partition: TopicPartition) -> StartOffset:
        async def ask() -> Start:
            # aiokafka has no public way to ask for what was noted beside an offset.
            known = await self._consumer._coordinator.fetch_committed_offsets([partition])
            if partition in known and known[partition].offset >= 0:
                return Start(known[partition].offset, True, known[partition].metadata)
            first: int = (await self._consumer.beginning_offsets([partition]))[partition]
            return Start(first, False)

        return ask

    async def _confirm_assignment(self, slot: _Slot) -> None:
        """A heartbeat, so that only the rightful owner fences.

        Without it a stalled process that wakes up and the owner that replaced it would fence each other in turn.
        """
        coordinator = self._consumer._coordinator  # aiokafka has no public way to ask for a heartbeat
        generation = coordinator.generation

        def is_assigned() -> bool:
            return (
                slot.partition in self._consumer.assignment()
                and coordinator.generation == generation
                and not coordinator._rejoin_needed_fut.done()
            )

        if not is_assigned() or not await coordinator._do_heartbeat() or not is_assigned():
            raise OwnershipLost(f"the group does not confirm partition {slot.partition.partition}")

    async def _stop(self) -> None:
        await self._host.drain()
        owned = [slot for slot in self._slots.values() if slot.state == "owned"]
        for slot in owned:
            slot.state = "released"
        await asyncio.gather(*(self._let_go(slot) for slot in owned))
        for slot in list(self._slots.values()):
            self._end(slot)
        for partition in self._held:
            self._host.moved(partition.partition)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSING_SECONDS)
        await self._close_consumer()

    async def _close_consumer(self) -> None:
        if self._consumer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(self._consumer.stop(), _CLOSING_SECONDS)


def _backoff(attempt: int) -> float:
    """Seconds."""
    return _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]
