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

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import DuplicateSequenceNumber, KafkaError, LeaderNotAvailableError, NoError, for_code
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
        self._identity = (-1, -1)
        """The producer's id and its epoch."""
        self._numbers: defaultdict[int, int] = defaultdict(int)
        """By partition, the number of the next record."""
        self._requests: set[asyncio.Task[None]] = set()

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
            for task in self._requests:
                task.cancel()
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
        led: defaultdict[int | None, list[_Sending]] = defaultdict(list)
        for each in sending:
            led[self.client.cluster.leader_for_partition(TopicPartition(self._topic, each.partition))].append(
                each
            )
        for leader, those in led.items():
            task = asyncio.create_task(self._deliver(leader, those))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _deliver(self, leader: int | None, sending: Sequence[_Sending]) -> None:
        """Until Kafka has them, or has refused them for good."""
        request = Produce(
            self._topic, {each.partition: each.records for each in sending}, int(_REQUEST_SECONDS * 1000)
        )
        try:
            if leader is None or leader < 0:
                raise LeaderNotAvailableError
            answer = await self.client.send(leader, request)
            again = [each for each in sending if not self._is_settled(each, *answer[each.partition])]
        except KafkaError as failed:
            again = [each for each in sending if not self._is_refused(each, failed)]
        except Exception as failed:  # else whoever waits would wait for ever
            for each in sending:
                if not each.arrived.done():
                    each.arrived.set_exception(failed)
            return
        if again:
            await asyncio.sleep(_RETRY_SECONDS)
            await self.client._maybe_wait_metadata()
            self._request(again)

    def _is_settled(self, sending: _Sending, code: int, offset: int) -> bool:
        error = for_code(code)
        if error is NoError or error is DuplicateSequenceNumber:
            sending.arrived.set_result(offset)
            return True
        return self._is_refused(sending, error())

    def _is_refused(self, sending: _Sending, error: KafkaError) -> bool:
        """For good. The metadata are asked for anew where they were wrong."""
        if error.invalid_metadata:
            self.client.force_metadata_update()
        if error.retriable:
            return False
        sending.arrived.set_exception(error)
        return True
