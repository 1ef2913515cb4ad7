"""The consumer loop of the services whose offsets live in PostgreSQL, beside the rows they stand for.

Kafka's group only says who reads what. Where to read on is what the last database transaction stored, so
there is one way to recover, whatever happened: load the stored offsets, seek there, go on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from types import MappingProxyType

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from sagahook.runtime.batches import (
    Batch,
    Batches,
    Finish,
    Handle,
    LoadOffsets,
    OffsetOutOfRange,
    OffsetsMoved,
    Unavailable,
)
from sagahook.runtime.gathering import Gathering
from sagahook.runtime.group_reader import group_reader
from sagahook.runtime.health import Status
from sagahook.runtime.kafka_closing import close_consumer
from sagahook.runtime.kafka_reaching import answers
from sagahook.runtime.lag import watch_lag
from sagahook.runtime.logging import get_logger
from sagahook.runtime.lookout import Lookout
from sagahook.runtime.outage import SILENCE_LIMIT, Outage
from sagahook.runtime.polls import Polled, Polls
from sagahook.runtime.rests import BACKLOG, Rests

log = get_logger(__name__)

_CONNECT_SECONDS = 20.0
"""A broker that takes connections and says nothing must not hold up the loop: what it waits for is bounded."""

_PATIENCE = 0.015
"""Seconds that it rests longer for what is awaited, at most: all else waits too, for half of them on average."""


async def _nothing_began() -> None:
    pass


class BatchConsumer:
    """One member of a consumer group that hands over what it read, all partitions together.

    A database that is away is waited for, a broker that is away is waited for; a rebalance or a batch that
    the database refuses (`OffsetsMoved`) means to read on from the stored offsets.

    finish: awaited whenever there is nothing to hand over, before offsets are loaded, and at the end. on_tick: called
    at every turn of the loop, at least every few seconds. max_records, first: see `Polls`.
    rest, leisure: see `Rests`. awaited: by topic the types of records for which it rests a little longer, unless there
    is one. session_timeout: seconds after which a dead member's partitions go to another.
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
        first: Collection[str] = (),
        rest: float = 0.0,
        leisure: Callable[[], float] = lambda: 0.0,
        awaited: Mapping[str, Collection[str]] = MappingProxyType({}),
        session_timeout: float = 6.0,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topics = sorted(topics)
        self._load_offsets = load_offsets
        self._handle = handle
        self._finish = finish
        self._on_tick = on_tick
        self._awaited = awaited
        self._lookout: Lookout | None = None
        self._gathering: Gathering | None = None
        self._is_there = False
        """What is awaited, as of the last look."""
        self._rests = Rests(rest, leisure=leisure, longer=self._look_out)
        self._polls = Polls(self._rests, max_records, first, self._gather)
        self._session_ms = int(session_timeout * 1000)
        self._consumer: AIOKafkaConsumer | None = None
        self._assigned = False
        self._next: dict[TopicPartition, int] | None = None
        """The next offset of each assigned partition; None: to be loaded."""
        self._outage = Outage(group, bootstrap)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; the batch in hand is finished. Raises OffsetOutOfRange."""
        watching = [asyncio.create_task(watch_lag(self)), asyncio.create_task(self._interrupt_at(stopping))]
        try:
            while not stopping.is_set():
                try:
                    await self._consume(stopping)
                except (KafkaError, TimeoutError) as away:
                    await self._wait(stopping, f"Kafka at {self._bootstrap} is away: {away!r}")
        finally:
            for each in watching:
                each.cancel()

    async def check(self) -> Status:
        """Degraded while Kafka or whatever `handle` needs is away: the loop waits and will catch up."""
        consumer = self._consumer
        # aiokafka's consumer shows no client to ask.
        works = not self._outage.is_on and consumer is not None and await answers(consumer._client)
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
        consumer = group_reader(self._bootstrap, self._group, self._session_ms)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await consumer.start()
            self._consumer = consumer
            if self._awaited:
                self._lookout = Lookout(consumer._client, self._awaited)
                self._gathering = Gathering(consumer._client)
            consumer.subscribe(self._topics, listener=_Rebalances(self, consumer))
            while not stopping.is_set():
                self._on_tick()
                await self._turn(consumer, stopping)
        finally:
            with suppress(Unavailable, OffsetsMoved):  # what was not kept is read again
                await self._finish()
            self._consumer, self._next, self._assigned = None, None, False
            if self._lookout is not None and self._gathering is not None:
                self._lookout.close()
                self._gathering.close()
            self._lookout, self._gathering = None, None
            await close_consumer(consumer)

    async def _turn(self, consumer: AIOKafkaConsumer, stopping: asyncio.Event) -> None:
        try:
            if self._assigned and self._next is None:
                await self._resume(consumer)
            polled = await self._poll(consumer)
            if self._next is not None:  # else a rebalance came in between: what was polled is read again
                await self._hand_over(await _batches(consumer, self._next, polled), self._next)
        except Unavailable as away:
            self._next = None
            await self._wait(stopping, str(away))
        except OffsetsMoved as moved:
            self._next = None
            log.warning("batch.refused", group=self._group, reason=str(moved))
        else:
            self._outage.tell(is_reading=self.is_reading)

    async def _hand_over(self, batches: Batches, offsets: dict[TopicPartition, int]) -> None:
        if batches:
            began = time.monotonic()
            await self._handle(batches)
            offsets.update({partition: batch.next_offset for partition, batch in batches.items()})
            count = sum(len(batch.records) for batch in batches.values())
            self._rests.begin(began, is_behind=count >= min(BACKLOG, self._polls.most))
            self._polls.handled(count, time.monotonic() - began)
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

    async def _poll(self, consumer: AIOKafkaConsumer) -> Polled:
        polled = await self._polls.rest_and_poll(consumer, self._refuse_to_skip)
        if polled or self._fetched_lately(consumer):
            self._outage.heard()
        return polled

    async def _gather(self, consumer: AIOKafkaConsumer) -> Polled | None:
        """What the lookout has seen, and all else, without asking the consumer, which goes on behind it."""
        offsets = self._next
        if self._gathering is None or not offsets or not self._is_there:
            return None
        gathered = await self._gathering.behind(offsets)
        if gathered is None or sum(len(each.records) for each in gathered.values()) > self._polls.most:
            return None
        if self._next is not offsets:
            return {}  # a rebalance came in between
        for partition, (_, next_offset) in gathered.items():
            consumer.seek(partition, next_offset)
        return {partition: records for partition, (records, _) in gathered.items()}

    async def _look_out(self, rest: float) -> None:
        if self._lookout is not None and self._next is not None:
            self._is_there = await self._lookout.look(self._next, rest + _PATIENCE)

    async def _interrupt_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._polls.interrupt()
        if self._lookout is not None:
            self._lookout.close()

    def _fetched_lately(self, consumer: AIOKafkaConsumer) -> bool:
        """Kafka answers a fetch also where there is nothing new. A member without partitions fetches nothing,
        and is kept by its heartbeats."""
        if not self._assigned:
            return False
        polls = [consumer.last_poll_timestamp(partition) for partition in consumer.assignment()]
        since = (time.time() - SILENCE_LIMIT / 2) * 1000
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
        self._on_tick()
        await self._outage.wait(stopping, reason)

    def revoked(self) -> None:
        self._assigned, self._next = False, None
        self._polls.reassigned()

    def assigned(self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
        """Quick, because heartbeats wait for it. Paused at a placeholder position, aiokafka neither fetches
        nor looks for offsets committed to Kafka, of which there are none; `_resume` sets the real one."""
        self._assigned, self._next = True, None
        self._polls.reassigned()
        self._polls.interrupt()
        self._outage.heard()
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
    polled: Polled,
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
