"""Writes batches to Kafka, each once and in order: one request to each broker that leads some of their partitions.

aiokafka's own producer takes a batch through an accumulator, a task that drains it, and a task that sends it, which
took a fifth of the time of sixteen webhooks (docs/performance.md). Of aiokafka there remain the connections, the
metadata and the encoding of records. A request that failed in a way that may pass is repeated under the same numbers,
by which the broker knows what it has already (KIP-98).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    DuplicateSequenceNumber,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    UnknownError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import InitProducerIdRequest

from sagahook.runtime import kafka_produce
from sagahook.runtime.kafka_line import Line, Lines
from sagahook.saga.brokers import client_options

_CLIENT = "sagahook-ingest"
_BATCH_BYTES = 1024 * 1024
_REQUEST_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_STOP_SECONDS = 2.0
_NO_COMPRESSION = 0
_LARGEST_NUMBER = 2**31 - 1
_NOBODY = -1
_UNTOLD = (UnknownError.errno, -1)

Arrived = Callable[[int | BaseException], None]
"""Told once the offset of a batch's first record, -1 where Kafka has the batch but not where; or the error with which
Kafka refused it for good."""


def new_batch() -> BatchBuilder:
    """Of one partition. It takes a first record of any size."""
    return BatchBuilder(_BATCH_BYTES, _NO_COMPRESSION)


@dataclass(slots=True, eq=False)
class _Sending:
    partition: int
    records: bytes
    arrived: Arrived


class Producer:
    """Of one topic. Once a batch of its was refused its numbers have a gap: it is of no more use, `stop` it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.client = AIOKafkaClient(
            **client_options(bootstrap),
            client_id=_CLIENT,
            request_timeout_ms=int(_REQUEST_SECONDS * 1000),
            retry_backoff_ms=int(_RETRY_SECONDS * 1000),
        )
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._identity = (-1, -1)
        """The producer's id and its epoch."""
        self._numbers: defaultdict[int, int] = defaultdict(int)
        """By partition, the number of the next record."""
        self._lines = Lines(self.client, kafka_produce.PRODUCE, _REQUEST_SECONDS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Raises KafkaError, OSError."""
        await self.client.bootstrap()
        await self.client._wait_on_metadata(self._topic)
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
        answer = await self.client.send(self.client.get_random_node(), request)
        error = for_code(answer.error_code)
        if error is not NoError:
            raise error()
        self._identity = answer.producer_id, answer.producer_epoch

    async def stop(self) -> None:
        """What is under way is waited for a moment, not for a broker that is away.

        aiokafka swallows the cancellation of whoever waits for its end; it is raised again here.
        """
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._lines.quiet()
        finally:
            self._stopped = True
            for task in self._tasks:
                task.cancel()
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.client.close()
        stopping = asyncio.current_task()
        if stopping is not None and stopping.cancelling():
            raise asyncio.CancelledError

    def send(self, batches: Mapping[int, tuple[BatchBuilder, Arrived]]) -> None:
        """batches: by partition, of which none may have one under way. Nobody is told before it returns."""
        sending = []
        for partition, (batch, arrived) in batches.items():
            number = self._numbers[partition]
            self._numbers[partition] = (number + batch.record_count()) & _LARGEST_NUMBER
            batch._set_producer_state(*self._identity, number)
            sending.append(_Sending(partition, batch._build(), arrived))
        self._request(sending)

    def _request(self, sending: Sequence[_Sending]) -> None:
        led: defaultdict[int, list[_Sending]] = defaultdict(list)
        for each in sending:
            leader = self.client.cluster.leader_for_partition(TopicPartition(self._topic, each.partition))
            led[_NOBODY if leader is None else leader].append(each)
        for leader, those in led.items():
            if line := self._lines.open_to(leader):
                self._ask(line, those)
            else:
                self._in_task(self._connect_and_ask(leader, those))

    def _ask(self, line: Line, sending: Sequence[_Sending]) -> None:
        batches = {each.partition: each.records for each in sending}
        request = kafka_produce.body({self._topic: batches}, int(_REQUEST_SECONDS * 1000))
        line.ask(request, partial(self._answered, sending))

    async def _connect_and_ask(self, leader: int, sending: Sequence[_Sending]) -> None:
        try:
            if leader == _NOBODY:
                raise LeaderNotAvailableError
            line = await self._lines.to(leader)
        except Exception as failed:
            self._answered(sending, failed)
        else:
            self._ask(line, sending)

    def _answered(self, sending: Sequence[_Sending], outcome: bytes | BaseException) -> None:
        if self._stopped:
            return
        if isinstance(outcome, bytes):
            told = kafka_produce.answer(outcome).get(self._topic, {})
            again = [
                each for each in sending if not self._is_settled(each, *told.get(each.partition, _UNTOLD))
            ]
        else:
            again = [each for each in sending if not self._is_refused(each, outcome)]
        if again:
            self._in_task(self._repeat(again))

    async def _repeat(self, sending: Sequence[_Sending]) -> None:
        await asyncio.sleep(_RETRY_SECONDS)
        with contextlib.suppress(KafkaError, OSError):
            await self.client._maybe_wait_metadata()
        self._request(sending)

    def _in_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_settled(self, sending: _Sending, code: int, offset: int) -> bool:
        error = for_code(code)
        if error is NoError or error is DuplicateSequenceNumber:
            sending.arrived(offset)
            return True
        return self._is_refused(sending, error())

    def _is_refused(self, sending: _Sending, error: BaseException) -> bool:
        """For good. The metadata are asked for anew where they were wrong."""
        if isinstance(error, KafkaError):
            if error.invalid_metadata:
                self.client.force_metadata_update()
            if error.retriable:
                return False
        sending.arrived(error)
        return True
