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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
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

from sagahook.saga.brokers import client_options
from sagahook_ingest.adapters.produce import Produce

_BATCH_BYTES = 1024 * 1024
_REQUEST_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_STOP_SECONDS = 2.0
_NO_COMPRESSION = 0
_LARGEST_NUMBER = 2**31 - 1
_NOBODY = -1
_UNTOLD = (UnknownError.errno, -1)

Answer = dict[int, tuple[int, int]]
"""By partition, an error's code and the offset of the first record."""


def new_batch() -> BatchBuilder:
    """Of one partition. It takes a first record of any size."""
    return BatchBuilder(_BATCH_BYTES, _NO_COMPRESSION)


@dataclass(slots=True, eq=False)
class _Sending:
    partition: int
    records: bytes
    arrived: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Producer:
    """Of one topic. Once a batch of its was refused its numbers have a gap: it is of no more use, `stop` it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.client = AIOKafkaClient(
            **client_options(bootstrap),
            client_id="sagahook-ingest",
            request_timeout_ms=int(_REQUEST_SECONDS * 1000),
            retry_backoff_ms=int(_RETRY_SECONDS * 1000),
        )
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._identity = (-1, -1)
        """The producer's id and its epoch."""
        self._numbers: defaultdict[int, int] = defaultdict(int)
        """By partition, the number of the next record."""
        self._requests: set[asyncio.Future[Any]] = set()

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
            if self._requests:
                await asyncio.wait(self._requests, timeout=_STOP_SECONDS)
        finally:
            for request in tuple(self._requests):
                request.cancel()
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.client.close()
        stopping = asyncio.current_task()
        if stopping is not None and stopping.cancelling():
            raise asyncio.CancelledError

    def send(self, batches: Mapping[int, BatchBuilder]) -> list[asyncio.Future[int]]:
        """batches: by partition, of which none may have one under way. Each future is told the offset of its batch's
        first record, -1 where Kafka has the batch but not where; it raises KafkaError where Kafka refused it for good.
        """
        sending = []
        for partition, batch in batches.items():
            number = self._numbers[partition]
            self._numbers[partition] = (number + batch.record_count()) & _LARGEST_NUMBER
            batch._set_producer_state(*self._identity, number)
            sending.append(_Sending(partition, batch._build()))
        self._request(sending)
        return [each.arrived for each in sending]

    def _request(self, sending: Sequence[_Sending]) -> None:
        led: defaultdict[int, list[_Sending]] = defaultdict(list)
        for each in sending:
            leader = self.client.cluster.leader_for_partition(TopicPartition(self._topic, each.partition))
            led[_NOBODY if leader is None else leader].append(each)
        for leader, those in led.items():
            request = Produce(
                self._topic, {each.partition: each.records for each in those}, int(_REQUEST_SECONDS * 1000)
            )
            answer = self._ask_at_once(leader, request)
            if answer is None:
                answer = asyncio.create_task(self._ask(leader, request))
            self._requests.add(answer)
            answer.add_done_callback(partial(self._answered, those))

    def _ask_at_once(self, leader: int, request: Produce) -> asyncio.Future[Answer] | None:
        """Without a task of its own; None where there is no connection yet."""
        connection = self.client._conns.get((leader, ConnectionGroup.DEFAULT))
        if connection is None or not connection.connected():
            return None
        try:
            connection.send(request).close()  # it is written now; what remained is to wait for the answer
        except (KafkaError, OSError):
            return None
        answer: asyncio.Future[Answer] = connection._requests[-1][-1]
        late = self._loop.call_later(_REQUEST_SECONDS, connection.close, CloseReason.CONNECTION_TIMEOUT)
        answer.add_done_callback(lambda _: late.cancel())
        return answer

    async def _ask(self, leader: int, request: Produce) -> Answer:
        """Raises KafkaError."""
        if leader == _NOBODY:
            raise LeaderNotAvailableError
        answer: Answer = await self.client.send(leader, request)
        return answer

    def _answered(self, sending: Sequence[_Sending], answer: asyncio.Future[Answer]) -> None:
        self._requests.discard(answer)
        if answer.cancelled():
            return
        failure = answer.exception()
        if failure is None:
            told = answer.result()
            again = [
                each for each in sending if not self._is_settled(each, *told.get(each.partition, _UNTOLD))
            ]
        else:
            again = [each for each in sending if not self._is_refused(each, failure)]
        if again:
            task = asyncio.create_task(self._repeat(again))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _repeat(self, sending: Sequence[_Sending]) -> None:
        await asyncio.sleep(_RETRY_SECONDS)
        with contextlib.suppress(KafkaError, OSError):
            await self.client._maybe_wait_metadata()
        self._request(sending)

    def _is_settled(self, sending: _Sending, code: int, offset: int) -> bool:
        error = for_code(code)
        if error is NoError or error is DuplicateSequenceNumber:
            sending.arrived.set_result(offset)
            return True
        return self._is_refused(sending, error())

    def _is_refused(self, sending: _Sending, error: BaseException) -> bool:
        """For good. The metadata are asked for anew where they were wrong."""
        if isinstance(error, KafkaError):
            if error.invalid_metadata:
                self.client.force_metadata_update()
            if error.retriable:
                return False
        sending.arrived.set_exception(error)
        return True
