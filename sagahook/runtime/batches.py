"""The consumer loop of the services whose offsets live in PostgreSQL, beside the rows they stand for.

Kafka's group only says who reads what. Where to read on is what the last database transaction stored, so
there is one way to recover, whatever happened: load the stored offsets, seek there, go on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from sagahook.runtime.health import Status
from sagahook.runtime.kafka_reaching import answers
from sagahook.runtime.lag import watch_lag
from sagahook.runtime.logging import get_logger
from sagahook.saga.brokers import client_options

log = get_logger(__name__)

_IDLE_MS = 250
"""How long a poll without records waits, here and at the broker: what a stop or a seek may have to wait for."""

_HEARTBEAT_MS = 500

_REBALANCE_LIMIT = 2.0
"""Seconds after which a poll that waits for a rebalance gives the loop a turn."""

_LONGEST_REST = 0.03
"""Seconds."""

_FRESH_MS = 10
"""How long, after a rest, the answer to the fetch is waited for that the poll before has set off."""

_AT_ONCE = 0.002
"""Seconds: a poll that took no longer got what aiokafka held already."""
_BACKLOG = 500
"""Records in one batch that tell of a backlog: it is worked off without rest."""

_SILENCE_LIMIT = 10.0
"""Seconds without a word from Kafka after which the service calls itself degraded."""

_CONNECT_SECONDS = 20.0
"""A broker that takes connections and says nothing must not hold up the loop: what it waits for is bounded."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""Seconds between tries while a dependency is away: doubled each time, up to the second."""


class Unavailable(Exception):
    """Try again later: something that the batch needs is away, and the text says what. Nothing of the batch
    was kept, or all of it."""


class OffsetsMoved(Exception):
    """Load the offsets again: the stored ones are not those at which the batch began. It was handled before,
    or another consumer owns the partition by now. Nothing of the batch was kept."""


class OffsetOutOfRange(Exception):
    """Call an operator: Kafka no longer holds the record that is next. Nothing was skipped."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Every record of one partition from `first_offset` up to, but not including, `next_offset`.

    There are fewer records than offsets where transactions left markers or were aborted; there may be none.
    """

    first_offset: int
    next_offset: int
    records: tuple[ConsumerRecord, ...]


Batches = Mapping[TopicPartition, Batch]
LoadOffsets = Callable[[Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
"""The next offset of each partition; one that is absent is read from the beginning of its log.
Raises Unavailable."""
Handle = Callable[[Batches], Awaitable[None]]
"""Keeps all of the batches and their next offsets together, or nothing. Raises Unavailable, OffsetsMoved.

It may return before it is done, and end that when it is called again or by `finish`, whichever comes first."""
Finish = Callable[[], Awaitable[None]]
"""Ends what `handle` began. Raises what that would have."""


async def _nothing_began() -> None:
    pass


class BatchConsumer:
    """One member of a consumer group that hands over what it read, all partitions together.

    A database that is away is waited for, a broker that is away is waited for; a rebalance or a batch that
    the database refuses (`OffsetsMoved`) means to read on from the stored offsets.

    finish: awaited whenever there is nothing to hand over, before offsets are loaded, and at the end.
    on_tick: called at every turn of the loop, at least every few seconds. max_records: the most that one call
    of `handle` gets. rest: how long it waits between two calls of it, in terms of what the call took, but no longer
    than _LONGEST_REST, or for as many seconds as `leisure` says (where nobody waits for what comes next); what comes
    meanwhile shares the next one. It is there because each call costs a transaction of the database and each fetch one
    of the broker's turns, whatever they carry; and on a machine that has much to do it leaves the more to the others.
    aiokafka fetches nothing as long as it holds records that nobody polled, and what it holds after a rest is from the
    rest's beginning: so it is polled twice then, unless the first poll had to wait. session_timeout: seconds after
    which a dead member's partitions go to another.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        topics: Collection[str],
        load_offsets: LoadOffsets,
        handle: Handle,
        finish: Finish = _nothing_began,
        on_tick: Callable[[], None] = lambda: None,
        max_records: int = 5_000,
        rest: float = 0.0,
        leisure: Callable[[], float] = lambda: 0.0,
        session_timeout: float = 6.0,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topics = sorted(topics)
        self._load_offsets = load_offsets
        self._handle = handle
        self._finish = finish
        self._on_tick = on_tick
        self._max_records = max_records
        self._rest = rest
        self._leisure = leisure
        self._rests_until = 0.0
        self._session_ms = int(session_timeout * 1000)
        self._consumer: AIOKafkaConsumer | None = None
        self._assigned = False
        self._next: dict[TopicPartition, int] | None = None
        """The next offset of each assigned partition; None: to be loaded."""
        self._heard = time.monotonic()
        self._delay = _FIRST_DELAY
        self._waits_for: str | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; the batch in hand is finished. Raises OffsetOutOfRange."""
        watching = asyncio.create_task(watch_lag(self), name=f"{self._group}-lag")
        try:
            while not stopping.is_set():
                try:
                    await self._consume(stopping)
                except (KafkaError, TimeoutError) as away:
                    await self._wait(stopping, f"Kafka at {self._bootstrap} is away: {away!r}")
        finally:
            watching.cancel()

    async def check(self) -> Status:
        """Degraded while Kafka or whatever `handle` needs is away: the loop waits and will catch up."""
        consumer = self._consumer
        # aiokafka's consumer shows no client to ask.
        works = self._waits_for is None and consumer is not None and await answers(consumer._client)
        return "healthy" if works else "degraded"

    @property
    def is_reading(self) -> bool:
        """Whether it has joined the group and knows where to read on, be it with no partition at all."""
        return self._next is not None

    def partitions(self) -> frozenset[TopicPartition]:
        """Those that this member reads at the moment."""
        return frozenset(self._next or ())

    @property
    def group(self) -> str:
        return self._group

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        return self._consumer

    async def taken(self) -> dict[TopicPartition, int]:
        """The next offset of each partition that is being read."""
        return dict(self._next or {})

    async def _consume(self, stopping: asyncio.Event) -> None:
        """One consumer's life."""
        consumer = self._new_consumer()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await consumer.start()
            self._consumer = consumer
            consumer.subscribe(self._topics, listener=_Rebalances(self, consumer))
            while not stopping.is_set():
                self._on_tick()
                await self._turn(consumer, stopping)
        finally:
            with suppress(Unavailable, OffsetsMoved):  # what was not kept is read again
                await self._finish()
            self._consumer, self._next, self._assigned = None, None, False
            # Leaving the group is a courtesy; a broker that is away must not hold up the stop.
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5.0)

    def _new_consumer(self) -> AIOKafkaConsumer:
        # The assignor keeps its previous assignment in class attributes: a class of its own for each consumer
        # keeps the groups of one process apart.
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        return AIOKafkaConsumer(
            **client_options(self._bootstrap),
            client_id=self._group,
            group_id=self._group,
            partition_assignment_strategy=(assignor,),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=_IDLE_MS,
            # A broker that does not know a new topic yet leaves the group without partitions until it is asked
            # again; aiokafka's own five minutes would be a long time to stand still.
            metadata_max_age_ms=5_000,
            session_timeout_ms=self._session_ms,
            # By a heartbeat a member hears that another has come or gone, and until it has, nobody reads.
            heartbeat_interval_ms=min(self._session_ms // 4, _HEARTBEAT_MS),
        )

    async def _turn(self, consumer: AIOKafkaConsumer, stopping: asyncio.Event) -> None:
        try:
            if self._assigned and self._next is None:
                await self._resume(consumer)
            polled = await self._rest_and_poll(consumer)
            if self._next is not None:  # else a rebalance came in between: what was polled is read again
                await self._hand_over(await _batches(consumer, self._next, polled), self._next)
        except Unavailable as away:
            self._next = None
            await self._wait(stopping, str(away))
        except OffsetsMoved as moved:
            self._next = None
            log.warning("batch.refused", group=self._group, reason=str(moved))
        else:
            self._say_how_it_goes()

    async def _hand_over(self, batches: Batches, offsets: dict[TopicPartition, int]) -> None:
        if batches:
            began = time.monotonic()
            await self._handle(batches)
            offsets.update({partition: batch.next_offset for partition, batch in batches.items()})
            ended = time.monotonic()
            count = sum(len(batch.records) for batch in batches.values())
            rest = max(min(self._rest * (ended - began), _LONGEST_REST), self._leisure())
            self._rests_until = ended + rest if count < min(_BACKLOG, self._max_records) else 0.0
        else:
            await self._finish()

    async def _resume(self, consumer: AIOKafkaConsumer) -> None:
        """Read on from where the last transaction ended."""
        with suppress(Unavailable, OffsetsMoved):  # the stored offsets tell
            await self._finish()
        partitions = consumer.assignment()
        offsets = dict(await self._load_offsets(partitions))
        unread = [partition for partition in partitions if partition not in offsets]
        if unread:
            await self._begin(await consumer.beginning_offsets(unread), offsets)
        if not self._assigned or consumer.assignment() != partitions:
            return  # a rebalance came in between
        for partition, offset in offsets.items():
            consumer.seek(partition, offset)
        consumer.resume(*partitions)
        self._next = offsets

    async def _begin(
        self, beginnings: Mapping[TopicPartition, int], offsets: dict[TopicPartition, int]
    ) -> None:
        """Where the beginning of a log is gone, what is stored must say so at once: nothing may ever follow."""
        gone = {partition: Batch(first, first, ()) for partition, first in beginnings.items() if first}
        if gone:
            await self._handle(gone)
        offsets.update(beginnings)

    async def _rest_and_poll(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What there is once the rest is over; without one, the first that comes."""
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        began = time.monotonic()
        polled = await self._poll(consumer, _IDLE_MS, self._max_records)
        room = self._max_records - sum(map(len, polled.values()))
        if rest > 0 and polled and room > 0 and time.monotonic() - began < _AT_ONCE:
            for partition, records in (await self._poll(consumer, _FRESH_MS, room)).items():
                polled.setdefault(partition, []).extend(records)
        return polled

    async def _poll(
        self, consumer: AIOKafkaConsumer, timeout_ms: int, most: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        try:
            async with asyncio.timeout(_REBALANCE_LIMIT):
                polled: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
                    timeout_ms=timeout_ms, max_records=most
                )
        except TimeoutError:  # getmany waits without a limit while the group rebalances
            return {}
        except OffsetOutOfRangeError as lost:
            await self._refuse_to_skip(consumer, lost.args[0])
            return {}
        if polled or self._fetched_lately(consumer):
            self._heard = time.monotonic()
        return polled

    def _fetched_lately(self, consumer: AIOKafkaConsumer) -> bool:
        """Kafka answers a fetch also where there is nothing new. A member without partitions fetches nothing,
        and is kept by its heartbeats."""
        if not self._assigned:
            return False
        polls = [consumer.last_poll_timestamp(partition) for partition in consumer.assignment()]
        since = (time.time() - _SILENCE_LIMIT / 2) * 1000
        return not polls or any(at is not None and at > since for at in polls)

    async def _refuse_to_skip(self, consumer: AIOKafkaConsumer, lost: Mapping[TopicPartition, int]) -> None:
        for partition, offset in lost.items():
            if self._next is None or self._next.get(partition) != offset:
                continue  # the answer to a fetch from before the last seek
            first = (await consumer.beginning_offsets([partition]))[partition]
            end = (await consumer.end_offsets([partition]))[partition]
            raise OffsetOutOfRange(
                f"{self._group} must read {partition.topic}-{partition.partition} at offset {offset} next, "
                f"but Kafka holds only {first} to {end}: records were deleted before they were read, or this "
                "is not the cluster that the database belongs to. Nothing was skipped. Point the service at "
                "the right cluster or restore the topic; or give it an empty database, to start over with "
                "what the log still holds"
            )

    async def _wait(self, stopping: asyncio.Event, reason: str) -> None:
        """Before another try."""
        self._say_waiting(reason)
        self._on_tick()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), self._delay)
        self._delay = min(self._delay * 2, _LONGEST_DELAY)

    def _say_how_it_goes(self) -> None:
        """aiokafka reconnects by itself and says nothing to its caller; only the silence tells."""
        if time.monotonic() - self._heard > _SILENCE_LIMIT:
            self._say_waiting(f"Kafka at {self._bootstrap} has not answered for {_SILENCE_LIMIT:.0f} seconds")
        elif self._waits_for is not None and self._next is not None:
            log.info("batches.recovered", group=self._group, waited_for=self._waits_for)
            self._waits_for = None
            self._delay = _FIRST_DELAY

    def _say_waiting(self, reason: str) -> None:
        """Once for each outage, not at every try."""
        if self._waits_for is None:
            log.warning("batches.waiting", group=self._group, reason=reason)
        self._waits_for = reason

    def revoked(self) -> None:
        self._assigned, self._next = False, None

    def assigned(self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
        """Quick, because heartbeats wait for it. Paused at a placeholder position, aiokafka neither fetches
        nor looks for offsets committed to Kafka, of which there are none; `_resume` sets the real one."""
        self._assigned, self._next = True, None
        self._heard = time.monotonic()
        consumer.pause(*partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        log.info("partitions.assigned", group=self._group, partitions=_by_topic(partitions))


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, batches: BatchConsumer, consumer: AIOKafkaConsumer) -> None:
        self._batches = batches
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._batches.revoked()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._batches.assigned(self._consumer, assigned)


async def _batches(
    consumer: AIOKafkaConsumer,
    offsets: Mapping[TopicPartition, int],
    polled: Mapping[TopicPartition, list[ConsumerRecord]],
) -> dict[TopicPartition, Batch]:
    """What was polled, and the partitions where only markers were passed."""
    batches = {}
    for partition, first in offsets.items():
        position = await consumer.position(partition)  # does not wait: every position was set by a seek
        if position != first:
            batches[partition] = Batch(first, position, tuple(polled.get(partition, ())))
    return batches


def _by_topic(partitions: Collection[TopicPartition]) -> dict[str, int]:
    return dict(sorted(Counter(partition.topic for partition in partitions).items()))
