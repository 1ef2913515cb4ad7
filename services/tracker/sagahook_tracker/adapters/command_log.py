"""Writes what operators ask for to the log: commands to `saga.commands`, where the sagas' owners read them, and pauses
to `saga.definitions`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.durable import DurableWriter
from sagahook.runtime.telemetry import current_traceparent
from sagahook.runtime.transactions import OutRecord
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of


@dataclass(frozen=True, slots=True)
class Order:
    """One command, with the envelope it travels in. key: what it is about. partition: where in the topic it goes; None:
    where everything about the key lives."""

    key: str
    envelope: Envelope
    command: Contract
    partition: int | None = None


class CommandLog:
    """timeout: seconds that one call of `send` may take."""

    def __init__(self, bootstrap: str, topic_prefix: str, topic: str, timeout: float = 5.0) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._writer = DurableWriter(bootstrap, topic_prefix, timeout)

    async def send(self, orders: Sequence[Order]) -> None:
        """Returns when Kafka has all of them durably. Raises Unavailable, and then any of them may be in the log."""
        traced = current_traceparent()
        try:
            await self._writer.send(
                lambda partitions: [self._record(each, partitions, traced) for each in orders]
            )
        except Unavailable as refused:
            away = refused.__cause__
            raise Unavailable(
                f"Kafka at {self._bootstrap} did not take the command ({away or type(away).__name__}); it may "
                "be carried out all the same: look before you ask again"
            ) from away

    async def close(self) -> None:
        await self._writer.close()

    def _record(self, order: Order, partitions: int, traceparent: str) -> OutRecord:
        """traceparent: of the request that asks for it; "" where nothing is traced."""
        return OutRecord(
            topic=self._topic,
            partition=partition_of(order.key, partitions) if order.partition is None else order.partition,
            key=order.key.encode(),
            value=order.command.to_json(),
            headers=order.envelope._replace(traceparent=traceparent).to_headers(),
            timestamp_ms=time.time_ns() // 1_000_000,
        )
