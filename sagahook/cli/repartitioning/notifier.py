"""Reads and moves the offsets of the notifier's intake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
from aiokafka import TopicPartition

from sagahook.cli.repartitioning.taken import Offsets
from sagahook.runtime.database import reaching_database

queries: Any = aiosql.from_path(Path(__file__).with_name("notifier.sql"), "asyncpg")

NOTIFIER = "the notifier"
"""Among groups: its own group in Kafka has no offsets."""


async def offsets_of(url: str, topic: str) -> Offsets:
    """Where it has read the topic; nothing where it never did. Raises Unavailable."""
    async with _connected(url) as connection:
        if not await queries.is_there(connection):
            return {}
        rows = [row async for row in queries.offsets(connection, topic=topic)]
    return {TopicPartition(topic, row["partition"]): row["next_offset"] for row in rows}


async def move_offsets(url: str, offsets: Offsets, old: str, old_partitions: int) -> None:
    """offsets: in the new topic, of all its partitions. old: the topic that they come from. Raises Unavailable."""
    async with _connected(url) as connection:
        await queries.move(
            connection,
            topic=next(iter(offsets)).topic,
            partitions=[place.partition for place in offsets],
            offsets=list(offsets.values()),
            old=old,
            old_partitions=old_partitions,
        )


async def forget_offsets(url: str, topic: str) -> None:
    """Those of a topic that is not read any more. Raises Unavailable."""
    async with _connected(url) as connection:
        await queries.forget(connection, topic=topic)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    with reaching_database():
        connection = await asyncpg.connect(url, timeout=5.0)
        try:
            yield connection
        finally:
            await connection.close(timeout=2.0)
