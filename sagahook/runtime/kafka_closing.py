"""Closes a consumer to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiokafka import AIOKafkaConsumer

_SECONDS = 5.0


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Also where whoever closes it is cancelled meanwhile: one that is half closed would fetch for ever."""
    closing = asyncio.create_task(_close(consumer))
    try:
        await asyncio.shield(closing)
    finally:
        await closing


async def _close(consumer: AIOKafkaConsumer) -> None:
    # Leaving the group is a courtesy; a broker that is away must not hold up the stop.
    with suppress(TimeoutError):
        await asyncio.wait_for(consumer.stop(), _SECONDS)
