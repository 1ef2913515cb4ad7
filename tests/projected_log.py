"""A log without a broker, for the tests of what the projector writes: the records as Kafka would hand them over."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition
from pydantic import SecretStr

from sagahook.runtime.batches import Batch, Batches
from sagahook.runtime.database import open_pool
from sagahook_schemas.identity import partition_of
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.handlers import project
from sagahook_tracker.settings import TrackerSettings
from tests.tracker_harness import PARTITIONS, TABLES
from tests.tracker_log import Written

Log = Mapping[TopicPartition, list[ConsumerRecord]]


def log_of(written: Iterable[Written], partitions: int = PARTITIONS) -> Log:
    """Each record in its key's partition, in the order that is given."""
    log: defaultdict[TopicPartition, list[ConsumerRecord]] = defaultdict(list)
    for each in written:
        place = TopicPartition(each.topic.base, partition_of(each.key, partitions))
        value = b"body" if each.data is None else each.data.to_json()
        record = ConsumerRecord(
            topic=place.topic,
            partition=place.partition,
            offset=len(log[place]),
            timestamp=0,
            timestamp_type=0,
            key=each.key.encode(),
            value=value,
            checksum=None,
            serialized_key_size=len(each.key),
            serialized_value_size=len(value),
            headers=tuple(each.envelope.to_headers()),
        )
        log[place].append(record)
    return dict(log)


def batch_of(records: list[ConsumerRecord], start: int, end: int) -> Batch:
    """Those of the partition's records, and the markers between and behind them."""
    first = records[start].offset if start else 0
    following = records[end].offset if end < len(records) else records[-1].offset + 1
    return Batch(first, following, tuple(records[start:end]))


def cut(log: Log, dice: random.Random) -> Iterator[Batches]:
    """The whole log in batches of any size, its partitions read in any order."""
    places = dict.fromkeys(log, 0)
    while left := [place for place, at in places.items() if at < len(log[place])]:
        batches = {}
        for place in dice.sample(left, dice.randint(1, len(left))):
            first = places[place]
            places[place] = min(len(log[place]), first + dice.randint(1, 6))
            batches[place] = Batch(first, places[place], tuple(log[place][first : places[place]]))
        yield batches


class Refusals:
    """Instead of a topic of dead letters."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def put(self, record: ConsumerRecord, reason: str) -> None:
        self.reasons.append(reason)


class Database:
    """One with the tracker's tables."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.refusals = Refusals()

    def projection(self) -> Projection:
        return Projection(self.pool, load_queries(), channel="anybody")

    async def project(self, log: Log, dice: random.Random | None = None) -> None:
        projection = self.projection()
        whole = {place: Batch(0, len(records), tuple(records)) for place, records in log.items()}
        for batches in [whole] if dice is None else cut(log, dice):
            await project(batches, projection, self.refusals)

    async def clear(self) -> None:
        await self.pool.execute(f"TRUNCATE {', '.join(f'tracker.{table}' for table in TABLES)}")

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Sums of nothing are as good as none."""
        something = "WHERE count <> 0 OR total_ms <> 0" if table == "rollups" else ""
        found = await self.pool.fetch(f"SELECT * FROM tracker.{table} AS row {something} ORDER BY row::text")  # noqa: S608
        return [dict(row) for row in found]

    async def everything(self) -> dict[str, list[dict[str, Any]]]:
        return {table: await self.rows(table) for table in TABLES}


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    settings = TrackerSettings(kafka="none", database_url=SecretStr(url))
    pool = await open_pool(settings)
    try:
        yield Database(pool)
    finally:
        await pool.close()
