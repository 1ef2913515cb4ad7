"""One worker for each partition that a group assigns to this process.

Rebalances are eager in aiokafka: every join takes all partitions away and gives most of them back, and no
heartbeat is sent while `on_partitions_assigned` runs. So the callbacks only pause and let go; taking over runs
beside them; and a worker whose partition comes back keeps its memory (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.health import Status
from sagahook.runtime.lag import watch_lag
from sagahook.runtime.logging import get_logger
from sagahook.runtime.membership import CLOSING_SECONDS, Membership, backoff
from sagahook.runtime.partition_workers import PartitionHost, PartitionWorker
from sagahook.runtime.polls import end_now
from sagahook.runtime.transactions import OwnershipLost

log = get_logger(__name__)


_POLL_MS, _IDLE_MS = 50, 500
"""How long a poll without records waits: where a full worker may have room again, and else."""


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
        self._group = group
        self._host = host
        self._member = Membership(
            bootstrap=bootstrap,
            group=group,
            topic=topic,
            session_timeout=session_timeout,
            heartbeat=heartbeat,
        )
        self._max_records = max_records
        # As long as a rebalance may take is too long: the others wait for us.
        self._letting_go_seconds = min(3.0, session_timeout / 2)
        self._slots: dict[TopicPartition, _Slot] = {}
        self._held: set[TopicPartition] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._polling: asyncio.Timeout | None = None
        self._joined = False
        self._stopping = False

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
            await asyncio.wait({reading}, timeout=CLOSING_SECONDS)
            await self._stop()
        if reading.done() and not reading.cancelled():
            reading.result()

    async def check(self) -> Status:
        """Unhealthy while Kafka does not answer: nothing can be taken or done."""
        return await self._member.check()

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
        found: AIOKafkaConsumer | None = self._member.consumer
        return found

    async def taken(self) -> dict[TopicPartition, int]:
        """The offset to take up next in each partition with a working owner."""
        taken = {}
        for slot in [slot for slot in self._slots.values() if slot.state == "owned"]:
            first = slot.worker.waiting_from if slot.worker is not None else None
            # The position, unlike the last record delivered, is past the ends of transactions.
            taken[slot.partition] = (
                await self._member.consumer.position(slot.partition) if first is None else first
            )
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
            self._member.consumer.pause(*assigned)
        for partition in assigned:
            # A placeholder that keeps aiokafka from looking up an offset: the worker says where to read.
            self._member.consumer.seek(partition, 0)
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
        await self._member.start(self)
        while True:
            for slot in self._slots.values():
                if slot.state == "owned" and slot.worker is not None and slot.worker.is_full != slot.paused:
                    # Back-pressure: a full worker's partition is not read.
                    slot.paused = slot.worker.is_full
                    (self._member.consumer.pause if slot.paused else self._member.consumer.resume)(
                        slot.partition
                    )
            for partition, records in (await self._poll()).items():
                owner = self._slots.get(partition)
                if owner is not None and owner.state == "owned" and owner.worker is not None:
                    owner.worker.deliver(records)
            if self._failure is not None:
                raise self._failure

    async def _poll(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What has come. A partition that was just resumed is only fetched by the next poll."""
        try:
            async with asyncio.timeout(None) as self._polling:
                polled: dict[TopicPartition, list[ConsumerRecord]] = await self._member.consumer.getmany(
                    timeout_ms=_POLL_MS if any(slot.paused for slot in self._slots.values()) else _IDLE_MS,
                    max_records=self._max_records,
                )
                return polled
        except TimeoutError:
            return {}
        finally:
            self._polling = None

    async def _own(self, slot: _Slot) -> None:
        """Keep the partition owned while it is assigned: take over, work, and after a loss take over anew."""
        attempt = 0
        # A cancellation may be swallowed on its way through aiokafka: a slot that was ended is in the table no more.
        while self._slots.get(slot.partition) is slot:
            try:
                began = asyncio.get_running_loop().time()
                await self._member.confirm(slot.partition)
                slot.worker = self._host.worker(slot.partition.partition, self._member.offset(slot.partition))
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
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    async def _discard(self, slot: _Slot) -> None:
        slot.paused = True
        if self._slots.get(slot.partition) is slot:
            slot.state = "taking"
            if slot.partition in self._member.consumer.assignment():
                self._member.consumer.pause(slot.partition)
        worker, slot.worker = slot.worker, None
        if worker is not None:
            await worker.close()

    def _open(self, slot: _Slot, offset: int) -> None:
        if self._slots.get(slot.partition) is not slot:
            raise OwnershipLost(f"partition {slot.partition.partition} was taken away meanwhile")
        self._member.consumer.seek(slot.partition, offset)
        self._member.consumer.resume(slot.partition)
        slot.paused, slot.state = False, "owned"
        end_now(self._polling)

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
            await asyncio.wait(self._ending, timeout=CLOSING_SECONDS)
        await self._member.stop()
