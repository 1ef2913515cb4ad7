"""A consumer that was begun to be closed is closed to its end."""

from __future__ import annotations

import asyncio

import pytest

from sagahook.runtime.kafka_closing import close_consumer


class Leaving:
    """As a consumer that takes its time to leave its group."""

    def __init__(self) -> None:
        self.may_go = asyncio.Event()
        self.is_stopped = False

    async def stop(self) -> None:
        await self.may_go.wait()
        self.is_stopped = True


async def test_whoever_is_cancelled_while_it_closes_a_consumer_closes_it_first() -> None:
    consumer = Leaving()
    closing = asyncio.create_task(close_consumer(consumer))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    consumer.may_go.set()

    with pytest.raises(asyncio.CancelledError):
        await closing

    assert consumer.is_stopped
