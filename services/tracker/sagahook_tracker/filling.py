"""Fills a schema from the log with the projector's own code, while another one serves.

`python -m sagahook_tracker.filling SCHEMA` helps a rebuild in another process: it takes its share of the partitions
until its standard input ends, which it does with whoever started it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition

from sagahook.runtime.batch_consumer import BatchConsumer
from sagahook.runtime.batches import Batches
from sagahook.runtime.database import open_pool, reaching_database
from sagahook.runtime.dead_letters import KafkaDeadLetters
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.handlers import project
from sagahook_tracker.settings import TrackerSettings

MAX_RECORDS = 5_000
"""Of one transaction: nobody waits for these rows."""

_HELPER_PATIENCE = 10.0
"""Seconds in which a helper ends what it has in hand."""


class Filling:
    """`run` until told to stop, or to pause for good."""

    def __init__(self, settings: TrackerSettings, pool: asyncpg.Pool, schema: str) -> None:
        self._projection = Projection(pool, load_queries(schema=schema), schema=schema)
        self._dead_letters = _OnlyNew(settings, pool)
        self._turn = asyncio.Lock()
        self._consumer = BatchConsumer(
            bootstrap=settings.kafka,
            group=f"{settings.group}.{schema}",
            topics=settings.topics,
            load_offsets=self._projection.load_offsets,
            handle=self._handle,
            max_records=MAX_RECORDS,
            session_timeout=settings.session_timeout,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Raises OffsetOutOfRange or NotMigrated, for an operator."""
        try:
            await self._consumer.run(stopping)
        finally:
            await self._dead_letters.close()

    async def pause(self) -> None:
        """Returns when nothing is being written, and nothing will be until `go_on`."""
        await self._turn.acquire()

    def go_on(self) -> None:
        self._turn.release()

    async def _handle(self, batches: Batches) -> None:
        async with self._turn:
            await project(batches, self._projection, self._dead_letters)


class _OnlyNew:
    """Dead letters that are there already are not put there again: those of records that the serving views passed."""

    def __init__(self, settings: TrackerSettings, pool: asyncpg.Pool) -> None:
        self._serving = Projection(pool, load_queries())
        self._letters = KafkaDeadLetters(settings.kafka, settings.topic_prefix, settings.group)

    async def put(self, record: ConsumerRecord, reason: str) -> None:
        place = TopicPartition(record.topic, record.partition)
        if record.offset >= (await self._serving.load_offsets([place])).get(place, 0):
            await self._letters.put(record, reason)

    async def close(self) -> None:
        await self._letters.close()


@asynccontextmanager
async def helpers(schema: str, count: int) -> AsyncIterator[None]:
    """So many processes with this one's environment, until the end of the block, or of this process."""
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagahook_tracker.filling", schema), stdin=asyncio.subprocess.PIPE
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for helper in started:
            if helper.stdin is not None:
                helper.stdin.close()
        for helper in started:
            try:
                await asyncio.wait_for(helper.wait(), _HELPER_PATIENCE)
            except TimeoutError:
                helper.kill()
                await helper.wait()


async def _help(schema: str) -> None:
    settings = TrackerSettings()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, stopping.set)  # nothing is ever sent: readable is at its end
    pool = await open_pool(settings)
    try:
        with reaching_database():
            await Filling(settings, pool, schema).run(stopping)
    finally:
        await pool.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_help(sys.argv[1]))
