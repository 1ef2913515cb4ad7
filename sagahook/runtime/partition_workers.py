"""The contract between a consumer that owns partitions and what does the work of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from aiokafka import ConsumerRecord


class Start(NamedTuple):
    """offset: what the group has to read next. was_committed: else it is the log's first. note: what was said when it
    was committed."""

    offset: int
    was_committed: bool
    note: str = ""


class GroupOffset(Protocol):
    """How far a group has taken one partition."""

    async def start(self) -> Start:
        """To be asked after the fence: an earlier answer may be overtaken."""
        ...

    async def tell(self, next_offset: int, note: str) -> None:
        """Outside of any transaction. Raises KafkaError where Kafka is away, or the partition not this member's."""
        ...


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

    def worker(self, partition: int, offset: GroupOffset) -> PartitionWorker: ...

    def moved(self, partition: int) -> None:
        """The partition belongs to another process now."""
        ...

    async def drain(self) -> None:
        """The process is to stop: finish what is under way, within a bound, and begin nothing more."""
        ...
