"""Ends what the last transaction of an id left undecided, when its next writer starts (see `undecided`)."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import AIOKafkaProducer, TopicPartition

from sagahook.runtime.logging import get_logger
from sagahook.runtime.undecided import GROUP_OFFSETS, Reach, last_outcome, left_open

log = get_logger(__name__)

_WAS_COMMITTED: dict[str, bool] = {}
"""By transactional id, what Kafka knew of the last transaction before the fence. Kept until a start has found that
nothing is left open: a fence whose taker came no further has made Kafka forget it."""


class Settling:
    """reach: where to make up for markers that Kafka left out of the last transaction; without it, nowhere."""

    def __init__(self, producer: AIOKafkaProducer, transactional_id: str, reach: Reach | None) -> None:
        self._producer = producer
        self._transactional_id = transactional_id
        self._reach = reach
        self._has_asked = False

    async def ask_before_the_fence(self, coordinator: int) -> None:
        if self._reach is None or self._has_asked:
            return
        committed = await last_outcome(self._producer.client, coordinator, self._transactional_id)
        if committed is not None:
            self._has_asked = True
            _WAS_COMMITTED[self._transactional_id] = committed

    async def left_open(self) -> list[TopicPartition]:
        """To be asked behind the fence."""
        if self._reach is None:
            return []
        return await left_open(self._producer.client, self._producer._txn_manager.producer_id, self._reach)

    async def settle(self, left: list[TopicPartition]) -> None:
        """End what is left open as the last transaction was ended: the next one's markers end all before them."""
        committed = _WAS_COMMITTED.get(self._transactional_id)
        log.warning(
            "transaction.undecided",
            transactional_id=self._transactional_id,
            partitions=sorted(f"{each.topic}-{each.partition}" for each in left),
            was_committed=committed,  # None: not known; what nobody ended, Kafka aborts, and so does this
        )
        group = self._reach.group if self._reach is not None else ""
        await end_without_records(self._producer, left, group, commit=bool(committed))

    def forget(self) -> None:
        """Once nothing is left open."""
        _WAS_COMMITTED.pop(self._transactional_id, None)


async def end_without_records(
    producer: AIOKafkaProducer, partitions: Iterable[TopicPartition], group: str = "", *, commit: bool
) -> None:
    """A transaction that leaves nothing but its end in the partitions. group: whose offsets are meant by theirs."""
    await producer.begin_transaction()
    for partition in partitions:
        if partition.topic != GROUP_OFFSETS:
            producer._txn_manager.maybe_add_partition_to_txn(partition)
        else:
            while not await producer._sender._do_add_offsets_to_txn(group):
                pass
    await (producer.commit_transaction() if commit else producer.abort_transaction())
