"""How webhooks are put into groups: by how many wait, and how many were held of late. Without a broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from sagahook_ingest.adapters import publisher as publishing
from sagahook_ingest.adapters.groups import Published
from sagahook_ingest.adapters.producer import Arrived
from sagahook_ingest.adapters.publisher import GroupPublisher
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.domain.webhook import Webhook

WEBHOOK = Webhook("orders", "", datetime(2026, 1, 2, tzinfo=UTC), "c", "application/json", b"{}")


class Broker:
    """In place of the producer; it has what it was sent when it is told to."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.under_way: list[Arrived] = []
        self.most_under_way = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def send(self, batches: Mapping[int, tuple[BatchBuilder, Arrived]]) -> None:
        for batch, arrived in batches.values():
            self.sizes.append(batch.record_count())
            self.under_way.append(arrived)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def acknowledge(self) -> None:
        """The oldest."""
        self.under_way.pop(0)(0)


@asynccontextmanager
async def senders(count: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    """So many, each of which sends its next webhook when it is told of its last."""
    broker = Broker()

    def producer(*_: Any) -> Broker:
        return broker

    monkeypatch.setattr(publishing, "Producer", producer)
    publisher = GroupPublisher("", "received", 4, timeout=5, max_records=1_000, max_bytes=1_000_000)
    loop, ended = asyncio.get_running_loop(), False

    def send() -> None:
        if not ended:
            publisher.begin(WEBHOOK, told)

    def told(_: Published | Unavailable) -> None:
        loop.call_soon(send)

    running = asyncio.create_task(publisher.run())
    try:
        await publisher.connected.wait()
        for _ in range(count):
            send()
            await asyncio.sleep(0.001)  # what came before it is on its way
        yield broker
    finally:
        ended = True
        running.cancel()
        await asyncio.wait({running})


async def kept_busy(broker: Broker, groups: int) -> list[int]:
    """The sizes of the last half of so many groups."""
    while len(broker.sizes) < groups:
        await asyncio.sleep(0)
        if broker.under_way:
            broker.acknowledge()
    return broker.sizes[groups // 2 :]


@pytest.mark.parametrize("count", [16, 64])
async def test_of_many_one_half_is_answered_while_the_other_is_on_its_way(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with senders(count, monkeypatch) as broker:
        sizes = await kept_busy(broker, 200)

    assert count / 4 <= median(sizes) <= count * 2 / 3
    assert broker.most_under_way == 2


async def test_some_leave_together_and_the_next_when_they_have_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with senders(8, monkeypatch) as broker:
        sizes = await kept_busy(broker, 200)

    assert median(sizes) == 8


async def test_of_two_neither_waits_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with senders(2, monkeypatch) as broker:
        sizes = await kept_busy(broker, 200)

    assert median(sizes) == 1
    assert broker.most_under_way == 2
