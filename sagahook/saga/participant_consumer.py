"""Reads what a participant is asked, and answers: the offset moves when the answer is in Kafka, and not before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sagahook.saga.brokers import client_options
from sagahook.saga.participant_handling import Handlers, Request, utc_now
from sagahook_schemas.codec import Undecodable, decode
from sagahook_schemas.envelope import Envelope, Header, InvalidEnvelope
from sagahook_schemas.participants import ParticipantReplied, ParticipantRequested
from sagahook_schemas.topics import SAGA_REPLIES, steps_topic

log = logging.getLogger("sagahook.participant")

_CONNECT_SECONDS = 10.0
_DRAIN_SECONDS = 10.0
_BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_A_DAY_MS = 86_400_000

Answer = TypeVar("Answer")


class StepsConsumer:
    """concurrency: steps that are handled at once; those of one saga are handled in their order."""

    def __init__(
        self,
        participant: str,
        handlers: Handlers,
        *,
        kafka: str,
        topic_prefix: str,
        group: str,
        concurrency: int,
    ) -> None:
        self._source = f"/sagahook/participant/{participant}"
        self._handlers = handlers
        self._kafka = kafka
        self._group = group
        self._concurrency = concurrency
        self._steps = steps_topic(participant).name(topic_prefix)
        self._dead_letters = steps_topic(participant).dead_letters.name(topic_prefix)
        self._replies = SAGA_REPLIES.name(topic_prefix)
        self._begun: dict[Any, deque[tuple[int, asyncio.Task[None]]]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._last_of: dict[bytes, asyncio.Task[None]] = {}
        self._consumer: Any = None
        self._producer: Any = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping`; then what is under way is given a while to end. Waits while Kafka is away, or the topic is
        not there yet."""
        while not await self._connect():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1.0)
            if stopping.is_set():
                return
        try:
            while not stopping.is_set():
                await self._poll()
                await self._commit()
            if self._working:
                await asyncio.wait(self._working, timeout=_DRAIN_SECONDS)
            await self._commit()
        finally:
            for task in self._working:
                task.cancel()
            await self._close()

    async def _connect(self) -> bool:
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
        from aiokafka.errors import KafkaError

        class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
            on_partitions_revoked = staticmethod(self._revoked)

            def on_partitions_assigned(self, assigned: Any) -> None:
                """Each is read from the offset that the group has."""

        # A reply that arrives twice is one: what matters is that none is lost.
        self._producer = AIOKafkaProducer(**client_options(self._kafka), acks="all")
        self._consumer = AIOKafkaConsumer(
            **client_options(self._kafka),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # Its heartbeats say that it lives; how long a step may take is for the saga to say.
            max_poll_interval_ms=_A_DAY_MS,
            metadata_max_age_ms=10_000,
        )
        self._consumer.subscribe([self._steps], listener=Listener())
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._producer.start()
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as away:
            log.warning("%s at %s cannot be read yet: %r", self._steps, self._kafka, away)
            await self._close()
            return False
        except BaseException:
            await self._close()
            raise
        return True

    async def _close(self) -> None:
        for client in (self._consumer, self._producer):
            with contextlib.suppress(Exception):
                await client.stop()

    async def _poll(self) -> None:
        free = self._concurrency - len(self._working)
        if free <= 0:
            await asyncio.wait(self._working, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            return
        # Short, because what ends meanwhile wants its offset committed.
        polled = await self._consumer.getmany(timeout_ms=100, max_records=free)
        for partition, records in polled.items():
            for record in records:
                self._begin(partition, record)

    def _begin(self, partition: Any, record: Any) -> None:
        saga = record.key or b""
        task = asyncio.create_task(self._work(record, self._last_of.get(saga)))
        self._begun.setdefault(partition, deque()).append((record.offset, task))
        self._working.add(task)
        self._last_of[saga] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._working.discard(task)
            if self._last_of.get(saga) is task:
                del self._last_of[saga]

        task.add_done_callback(ended)

    async def _work(self, record: Any, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            envelope, requested = decode(record.headers, record.value)
            if not isinstance(requested, ParticipantRequested):
                raise Undecodable(f"a {requested.ce_type} asks nothing of a participant")
        except (InvalidEnvelope, Undecodable) as refused:
            await self._put_aside(record, str(refused))
            return
        request = Request.of(envelope, requested)
        timeout = max(0.0, (requested.times_out_at - envelope.time).total_seconds())
        reply = await _patiently(lambda: self._handlers.handle(request, timeout))
        sent = self._envelope(request, envelope, reply)
        await self._send(self._replies, record.key, reply.to_json(), sent.to_headers())

    def _envelope(self, request: Request, asked: Envelope, reply: ParticipantReplied) -> Envelope:
        return Envelope(
            id=f"{request.idempotency_key}/{request.attempt}",
            source=self._source,
            type=reply.ce_type,
            time=utc_now(),
            subject=request.step,
            correlation_id=asked.correlation_id,
            causation_id=asked.id,
            saga_id=request.saga_id,
            run=request.run,
            traceparent=asked.traceparent,
        )

    async def _put_aside(self, record: Any, reason: str) -> None:
        log.warning("%s/%d/%d is no request: %s", record.topic, record.partition, record.offset, reason)
        headers = [
            *record.headers,
            ("dlqreason", reason[:1_000].encode(errors="replace")),
            ("dlqtopic", record.topic.encode()),
            ("dlqpartition", b"%d" % record.partition),
            ("dlqoffset", b"%d" % record.offset),
            ("dlqconsumer", self._group.encode()),
        ]
        await self._send(self._dead_letters, record.key, record.value, headers, record.partition)

    async def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header],
        partition: int | None = None,
    ) -> None:
        """Until Kafka has it."""
        await _patiently(
            lambda: self._producer.send_and_wait(
                topic, key=key, value=value, headers=headers, partition=partition
            )
        )

    async def _revoked(self, revoked: Any) -> None:
        """What is under way goes on: its answer counts, whoever the partition moves to."""
        await self._commit()
        for partition in revoked:
            self._begun.pop(partition, None)

    async def _commit(self) -> None:
        """Of each partition up to the first record that is not answered yet."""
        from aiokafka.errors import KafkaError

        offsets: dict[Any, int] = {}
        for partition, begun in self._begun.items():
            while begun and begun[0][1].done():
                offset, task = begun.popleft()
                task.result()
                offsets[partition] = offset + 1
        if offsets:
            try:
                await self._consumer.commit(offsets)
            except (KafkaError, OSError) as lost:
                # They will be read again, and answered from what is remembered.
                log.warning("offsets of %s were not committed: %r", self._group, lost)


async def _patiently(act: Callable[[], Awaitable[Answer]]) -> Answer:
    """Whatever it takes: the inbox's storage and Kafka come back, and nobody else would answer this record."""
    attempt = 0
    while True:
        try:
            return await act()
        except Exception:
            wait = _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]
            log.warning("trying again in %s s", wait, exc_info=True)
            attempt += 1
            await asyncio.sleep(wait)
