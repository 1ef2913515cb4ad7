"""What an owner writes: its decisions with how far its commands were taken, the snapshots behind them, its own record.

Nothing else of an owner writes. What it holds in memory runs ahead of the log by what is under way here, so after any
failure of a write the whole owner is thrown away and a new one restores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Set
from datetime import UTC, datetime
from random import random
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from sagahook.runtime.clock import Clock
from sagahook.runtime.partition_workers import GroupOffset, Start
from sagahook.runtime.transactions import OwnershipLost, TransactionalWriter
from sagahook_runner import metrics
from sagahook_runner.adapters.attempt import AttemptKey
from sagahook_runner.adapters.marks import Mark
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_runner.adapters.restore import Restored
from sagahook_runner.domain.commands import Command
from sagahook_runner.domain.erased import WithoutKeys
from sagahook_runner.handlers.transaction import OwnerTransaction, Place
from sagahook_runner.handlers.unkept import Unkept
from sagahook_schemas.sagas import AttemptInFlight, OwnerAcquired, OwnerReleased
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys


class Ledger:
    """Of one owner. group: whose offset tells how far the commands were taken. process_id: of the process that the
    owner lives in. on_written: called with each transaction once it is written, when its attempts may begin."""

    def __init__(
        self,
        place: Place,
        writer: TransactionalWriter,
        clock: Clock,
        group: str,
        process_id: str,
        offset: GroupOffset,
        keys: DataKeys | None,
        on_written: Callable[[OwnerTransaction], None],
    ) -> None:
        self._place = place
        self._partition = place.partition
        self._settings = place.settings
        self._shard = place.shard
        self._writer = writer
        self._clock = clock
        self._process_id = process_id
        self._keys = keys
        self._on_written = on_written
        self._events = TopicPartition(place.settings.topic(SAGA_EVENTS), place.partition)
        commands = TopicPartition(place.settings.topic(SAGA_COMMANDS), place.partition)
        self._mark = Mark(commands, self._events, writer, group, offset)
        self._unkept = Unkept(0, ())
        self._promised: frozenset[AttemptKey] = frozenset()
        self.epoch = 0
        self.latest = datetime.fromtimestamp(0, UTC)
        """The owner's time, as it was told last."""

    def now(self) -> datetime:
        """The owner's time: never before the partition's last event, whatever the machine's clock says."""
        self.latest = max(self._clock.now(), self.latest)
        return self.latest

    # -- taking over, and letting go ------------------------------------------------------------------------

    def go_on(self, start: Start, restored: Restored) -> int:
        """Where the last owner stopped. Returns the offset of the command to be taken up next."""
        self.latest = restored.latest
        self.epoch = restored.owner.epoch + 1
        self._promised = restored.owner.in_flight
        self._unkept = Unkept(restored.kept_until, restored.unkept)
        return self._mark.begin(start, restored.taken, restored.end)

    async def keep_everything(self) -> None:
        """Where the snapshots are gone, all of them are written, before the owner's record says that they are there."""
        transaction = self._begin()
        for keep in transaction.everything():
            transaction = await self._with_room(transaction)
            keep(transaction)
        await self.write(transaction)

    async def announce_behind(self, end: int) -> None:
        """Announce this owner, whose events shall come right behind what was restored. From then on Kafka refuses here
        what an earlier owner still has under way; what of it came in between has to be restored first."""
        announced_at = await self.announce()
        if announced_at != end:
            raise OwnershipLost(
                f"the log of partition {self._partition} went on from {end} to {announced_at} while it was restored"
            )
        self._writer.alone_in(self._events)

    async def announce(self) -> int:
        """Returns the offset of the announcement."""
        promised = self.still_promised()
        acquired = OwnerAcquired(
            partition=self._partition,
            epoch=self.epoch,
            instance=self._settings.instance,
            first_run=self._shard.first_run,
            in_flight=_in_flight(promised),
        )
        return await self._write_owner(acquired, promised) - 1

    async def release(self, in_flight: Set[AttemptKey]) -> None:
        """in_flight: the attempts that go on in this process, which will tell of them."""
        promised = self.still_promised() | in_flight
        released = OwnerReleased(partition=self._partition, epoch=self.epoch, in_flight=_in_flight(promised))
        await self._write_owner(released, promised)

    async def _write_owner(
        self, event: OwnerAcquired | OwnerReleased, in_flight: frozenset[AttemptKey]
    ) -> int:
        """Returns the offset behind the event. The group is told, because its offset must never be unknown once there
        was an owner."""
        left = self._left(in_flight, released=isinstance(event, OwnerReleased))
        await self._writer.ready()
        records = EventRecords(self._settings, self._partition, Stamp(self.now(), self.epoch))
        ends = await self._mark.write(records.owner(event, left), self._mark.next_offset)
        self._unkept.committed((), 1, ends[self._events], self.latest)
        return ends[self._events]

    def still_promised(self) -> frozenset[AttemptKey]:
        """Of the attempts that other processes promised to tell of, those that are waited for."""
        self._promised &= {
            AttemptKey.of(state.saga_id, state.run, running) for state, running in self._shard.running()
        }
        return self._promised

    def _left(self, in_flight: frozenset[AttemptKey], *, released: bool) -> bytes:
        """The owner's record in `saga.state`."""
        first_run, events_from = self._shard.first_run, self._unkept.begin
        return OwnerRecord(
            self.epoch, self._process_id, released, in_flight, first_run, events_from
        ).to_json()

    # -- decisions ------------------------------------------------------------------------------------------

    async def open(self) -> OwnerTransaction:
        """The next one to be written."""
        await self._writer.ready()
        return self._begin()

    def _begin(self) -> OwnerTransaction:
        return OwnerTransaction(self._place, Stamp(self.now(), self.epoch), random())

    async def write(self, transaction: OwnerTransaction) -> None:
        """Attempts begin only after their `step.scheduled` is committed."""
        if transaction.is_empty:
            return
        taken = self._mark.next_offset if transaction.next_offset is None else transaction.next_offset
        if data_keys := transaction.data_keys:
            if self._keys is None:
                raise WithoutKeys
            await self._keys.settle(data_keys)
            transaction.seal(self._keys)
        with metrics.COMMITS.time():
            ends = await self._mark.write(transaction.records(), taken)
        events = transaction.counted.total()
        self._unkept.committed(transaction.changed, events, ends.get(self._events), self.latest)
        self._on_written(transaction)
        for kind, count in transaction.counted.items():
            metrics.EVENTS_WRITTEN.labels(kind).inc(count)

    async def write_all(self, commands: deque[tuple[str, Command]]) -> None:
        """What the commands lead to, in as many transactions as they need."""
        while commands:
            transaction = await self.open()
            while commands and transaction.is_open:
                transaction.apply(*commands.popleft())
            await self.write(transaction)

    def tell_the_group(self) -> None:
        """How far the commands were taken, where it was not told for a while. Nobody waits for it."""
        self._mark.tell_now_and_then()

    def close(self) -> None:
        self._mark.close()

    # -- snapshots ------------------------------------------------------------------------------------------

    def keeps_at(self) -> datetime | None:
        """When the next snapshots are to be written; None while nothing has changed."""
        return self._unkept.due_at(self.latest)

    async def keep_changed(self) -> None:
        """Snapshots of what has changed, and with the last of them from where on the log tells more."""
        changed = self._unkept.take()
        if not changed:
            return
        transaction = await self.open()
        for saga_id in changed:
            transaction = await self._with_room(transaction)
            transaction.keep(saga_id)
        self.remember_owner(transaction)
        await self.write(transaction)

    def remember_owner(self, transaction: OwnerTransaction) -> None:
        """The owner's record as it is now goes with the transaction."""
        transaction.remember_owner(self._left(self.still_promised(), released=False))

    async def _with_room(self, transaction: OwnerTransaction) -> OwnerTransaction:
        """It, or the next one."""
        if transaction.is_open:
            return transaction
        await self.write(transaction)
        return await self.open()


def _in_flight(keys: Iterable[AttemptKey]) -> tuple[AttemptInFlight, ...]:
    return tuple(AttemptInFlight(**key._asdict()) for key in sorted(keys))
