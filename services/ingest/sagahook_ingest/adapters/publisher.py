"""Publishes webhooks in groups: what arrives while one batch is on its way to Kafka leaves with the next.

One acknowledgement then wakes many requests, which is what makes a durable 202 cheap. A group waits a moment for as
many as there were of late: the senders that an answer wakes send again at once. A webhook may lie in any partition, so
a group goes into one, the next group into the next, and each event id is drawn to belong where its group goes.
docs/performance.md has what this gains over the client's own batching.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from sagahook.runtime.ids import event_id_in
from sagahook.runtime.logging import get_logger
from sagahook.runtime.telemetry import is_recorded
from sagahook.runtime.telemetry_kafka import sending
from sagahook_ingest.adapters.groups import Entry, Group, Lost, Published, Settled, Told, WaitingRoom, resolve
from sagahook_ingest.adapters.producer import Arrived, Producer, new_batch
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.domain.webhook import Webhook

log = get_logger(__name__)

_TICK_SECONDS = 0.1
_FEW, _MANY = 4, 12
"""So few webhooks at once leave in two groups that take turns, which costs the broker a request more and each of them
less time. Of more that is no gain: a request takes much of the processor's, for which they wait then. Of more than many
it is one again: else nobody here has anything to do while all of them are on their way."""
_GATHER_SECONDS = 0.001
"""The longest that a group waits for company; about what its way to Kafka and back takes."""
_RECONNECT_SECONDS = (0.1, 0.25, 0.5, 1.0)


class GroupPublisher:
    """One idempotent producer, a group to each partition that one has to go to, and bounds on what is held.

    While one is under way the next waits, so that it is large, and while two are where two take turns; past a partition
    that is stuck it leaves at the next tick.

    timeout: seconds after which a sender is told to try again. max_records, max_bytes: what may be held at
    once. A producer that Kafka refuses for good is replaced by a new one.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partitions: int,
        *,
        timeout: float,
        max_records: int,
        max_bytes: int,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._timeout = timeout
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._waiting = WaitingRoom(partitions)
        self._under_way: dict[int, Group] = {}
        self._held_bytes = 0
        self._producer: Producer | None = None
        self._late = False
        """Whether senders were told to try again since the last acknowledgement."""
        self._end: asyncio.Future[None] = self._loop.create_future()
        """Of the producer: Kafka has refused a group for good."""
        self._most = 1
        """How many webhooks were held of late when a group left."""
        self._gathering: asyncio.TimerHandle | None = None
        self._leaving = False
        self.held = 0
        self.connected = asyncio.Event()

    def publish(self, webhook: Webhook, settled: Settled | None = None) -> asyncio.Future[Published]:
        """As `begin`, for whoever waits in a task; it raises Unavailable when it took too long."""
        answer: asyncio.Future[Published] = self._loop.create_future()
        self.begin(webhook, partial(resolve, answer), settled)
        return answer

    def begin(self, webhook: Webhook, told: Told, settled: Settled | None = None) -> None:
        """`told` comes, never at once, when Kafka has the webhook durably, or when that took too long.

        Raises Unavailable, with nothing written and nobody told, when too much waits already.
        """
        size = len(webhook.body)
        if self.held >= self._max_records or (self.held and self._held_bytes + size > self._max_bytes):
            raise Unavailable(
                "Too many webhooks wait for Kafka; nothing was written, send again", retry_after=1
            )
        self.held += 1
        self._held_bytes += size
        entry = Entry(webhook, told, self._loop.time() + self._timeout, settled)
        if is_recorded(webhook.traceparent):
            entry.span = sending(self._topic, webhook.traceparent, size, webhook.correlation_id)
            if entry.span is not None:
                webhook.traceparent = entry.span.traceparent
        self._waiting.add(entry)
        self._go_on()

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_for_ever(), name="publish")
            tasks.create_task(self._watch_deadlines(), name="publish-deadlines")

    async def is_up(self, timeout: float = 1.0) -> bool:
        """Whether Kafka answers."""
        if self._producer is None:
            return False
        try:
            return bool(await asyncio.wait_for(self._producer.client.force_metadata_update(), timeout))
        except (TimeoutError, KafkaError, OSError):
            return False

    async def _publish_for_ever(self) -> None:
        while True:
            self._producer = await self._connect()
            self._end = self._loop.create_future()
            self.connected.set()
            try:
                self._flush()
                await self._end
            finally:
                producer, self._producer = self._producer, None
                try:
                    await producer.stop()
                finally:
                    self._abandon()

    async def _connect(self) -> Producer:
        attempt = 0
        while True:
            producer = Producer(self._bootstrap, self._topic)
            try:
                await producer.start()
            except (KafkaError, OSError) as away:
                log.warning("kafka.away", error=str(away))
                await producer.stop()
                await asyncio.sleep(_RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)])
                attempt += 1
            else:
                return producer

    def _go_on(self) -> None:
        """Let a group leave if it is time for one."""
        if self._leaving:
            return
        under_way, are_many = len(self._under_way), self._most > _MANY
        shares = 2 if are_many or self._most <= _FEW else 1
        if under_way < shares and shares * len(self._waiting) >= self._most:
            if are_many:
                # Now: what else came with it is the other group, read while this one is on its way.
                self._flush()
            else:
                # Soon: what came together leaves together, or groups could become smaller, and never larger.
                self._leaving = True
                self._loop.call_soon(self._flush)
        elif not under_way and self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER_SECONDS, self._flush)

    def _flush(self) -> None:
        """Let groups leave, whether or not it is time."""
        self._leaving = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._producer is None or self._end.done() or not self._waiting:
            return
        # Slowly: of those who send again at once some are on their way at any moment, and groups would become smaller.
        self._most = max(self.held, self._most - 1 - self._most // 32)
        try:
            self._send(self._producer)
        except Exception as failed:  # it is not the sender's whose webhook came last
            self._end.set_exception(failed)

    def _send(self, producer: Producer) -> None:
        """A group to each partition that has none under way, as long as something waits for one."""
        batches: dict[int, tuple[BatchBuilder, Arrived]] = {}
        while True:
            partition = self._waiting.next_partition(self._under_way)
            if partition is None:
                break
            batch = new_batch()
            group = self._waiting.take(partition, partial(_append, batch, partition, self._partitions))
            self._under_way[partition] = group
            batches[partition] = batch, partial(self._answered, group)
        producer.send(batches)

    def _answered(self, group: Group, arrived: int | BaseException) -> None:
        if self._under_way.get(group.partition) is not group:
            return  # abandoned with its producer
        if isinstance(arrived, BaseException):
            self._failed(group, arrived)
            return
        del self._under_way[group.partition]
        if self._late:
            self._late = False
            log.info("publish.resumed", partition=group.partition)
        for index, entry in enumerate(group.entries):
            # -1: the broker knows the batch as one that it has already, and no longer where.
            offset = arrived + index if arrived >= 0 else None
            self._settle(entry, Published(entry.event_id, group.partition, offset))
        if self._waiting:
            self._go_on()

    def _failed(self, group: Group, failure: BaseException) -> None:
        """The producer retries by itself what can be retried, so its sequence is broken now: it is replaced."""
        log.error("publish.refused", partition=group.partition, error=repr(failure))
        del self._under_way[group.partition]
        for entry in group.entries:
            self._settle(entry, Lost.UNKNOWN)
        if not self._end.done():
            self._end.set_result(None)

    def _abandon(self) -> None:
        """What a stopped producer had under way: it may be in the log or not."""
        for partition in list(self._under_way):
            for entry in self._under_way.pop(partition).entries:
                self._settle(entry, Lost.UNKNOWN)

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._loop.time()
            if self._give_up(now) and not self._late:
                self._late = True
                log.warning("publish.late", held=self.held, seconds=self._timeout)
            if self._waiting:
                # One partition's group may be stuck: others need not wait for its answer.
                self._flush()

    def _give_up(self, now: float) -> bool:
        """Tell the senders whose time is up. What Kafka was given already may still get into the log."""
        expired = list(self._waiting.expired(now))
        for entry in expired:
            self._settle(entry, Lost.NOT_WRITTEN)
        late = [
            entry
            for group in self._under_way.values()
            for entry in group.entries
            if entry.deadline <= now and entry.told is not None
        ]
        for entry in late:
            entry.tell(_too_late())
        return bool(expired or late)

    def _settle(self, entry: Entry, outcome: Published | Lost) -> None:
        self.held -= 1
        self._held_bytes -= len(entry.webhook.body)
        entry.end_span(outcome)
        if entry.settled is not None:
            entry.settled(outcome)
        if entry.told is not None:
            entry.tell(_too_late() if isinstance(outcome, Lost) else outcome)


def _append(batch: BatchBuilder, partition: int, partitions: int, entry: Entry) -> bool:
    """Whether the batch had room for it. It has for the first, however large."""
    event_id = event_id_in(partition, partitions)
    appended = batch.append(
        timestamp=time.time_ns() // 1_000_000,
        key=event_id.encode(),
        value=entry.webhook.body,
        headers=entry.webhook.record_headers(event_id),
    )
    entry.event_id = event_id
    return appended is not None


def _too_late() -> Unavailable:
    return Unavailable("Kafka did not acknowledge the webhook in time; send it again", retry_after=5)
