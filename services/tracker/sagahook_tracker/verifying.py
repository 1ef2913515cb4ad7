"""`sagahook tracker verify`: are the views what the log tells?

The log is read anew up to the offsets that the views stand for, and folded in memory; what comes of it is compared with
the rows of one snapshot of PostgreSQL, so that a projector may go on meanwhile. Of memory it takes what one partition's
webhooks and sagas take, and a little for all others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition
from orjson import loads

from sagahook.runtime.topics import partition_count
from sagahook_schemas.codec import Undecodable
from sagahook_schemas.envelope import InvalidEnvelope
from sagahook_schemas.topics import DEAD_LETTER_TOPICS, SAGA_EVENTS
from sagahook_tracker.adapters.log_reading import LogReader, open_log_reader
from sagahook_tracker.adapters.projection import REFUSED
from sagahook_tracker.domain.changes import Event
from sagahook_tracker.domain.differences import Difference, Report
from sagahook_tracker.domain.expected import OfAll, OfPartition
from sagahook_tracker.domain.expected_rows import Rows
from sagahook_tracker.domain.matching import KEYS, Matching
from sagahook_tracker.domain.retention import Cutoff
from sagahook_tracker.domain.states import States
from sagahook_tracker.handlers import read
from sagahook_tracker.settings import TrackerSettings

_TOLD_ELSEWHERE = frozenset({"offsets", "cutoffs", "schema_version"})


async def verify(settings: TrackerSettings, pool: asyncpg.Pool, schema: str = "tracker") -> Report:
    """Every difference that there is. Raises KafkaError, TopicsMismatch, or as a pool does."""
    partitions = range(await partition_count(settings.kafka, settings.topic_prefix))
    async with (
        open_log_reader(settings.kafka) as reader,
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=loads)
        try:
            comparison = Comparison(settings, reader, connection, schema, list(partitions))
            return await comparison.run()
        finally:
            await connection.reset_type_codec("json", schema="pg_catalog")


class Comparison:
    """connection: within one snapshot."""

    def __init__(
        self,
        settings: TrackerSettings,
        reader: LogReader,
        connection: asyncpg.Connection,
        schema: str,
        partitions: list[int],
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._connection = connection
        self._schema = schema
        self._partitions = partitions
        self._report = Report()
        self._all = OfAll()
        self._states = States()
        self._ranges: dict[TopicPartition, tuple[int, int]] = {}

    async def run(self) -> Report:
        await self._find_ranges()
        dead = await self._dead_letters()
        matching = Matching(self._report, await self._cutoffs())
        for number in self._partitions:
            part = await self._fold(number, dead)
            begins = {
                place.topic: first for place, (first, _) in self._ranges.items() if place.partition == number
            }
            matching.begin(part, {self._base(topic): first for topic, first in begins.items()})
            for table, rows in part.tables():
                await self._compare(matching, table, rows, number)
            self._all.add(part)
        for table, rows in self._all.tables():
            await self._compare(matching, table, rows, None)
        await self._compare_states()
        await self._name_unknown_tables()
        return self._report

    async def _find_ranges(self) -> None:
        """From where each partition begins to where the views stand. An offset beyond the log's end is a difference."""
        places = [
            TopicPartition(topic, number) for topic in self._settings.topics for number in self._partitions
        ]
        ranges = await self._reader.ranges(places)
        stored = {
            TopicPartition(row["topic"], row["partition"]): row["next_offset"]
            async for row in self._stored("offsets")
        }
        for place, offset in stored.items():
            _, end = ranges.get(place, (0, None))
            if end is None or offset > end:
                key = (f"{place.topic}-{place.partition}",)
                self._report.add(Difference("offsets", key, "next_offset", offset, end))
        for place, (begin, end) in ranges.items():
            self._ranges[place] = begin, min(stored.get(place, 0), end)

    async def _dead_letters(self) -> frozenset[tuple[str, int, int]]:
        """Topic, partition and offset of the records that PostgreSQL refused. Which ones can be read, the version that
        runs now says, as in a rebuild."""
        topics = {
            topic.name(self._settings.topic_prefix)
            for topic in DEAD_LETTER_TOPICS
            if self._settings.topic_prefix + "." + topic.base.removesuffix(".dlq") in self._settings.topics
        }
        places = [TopicPartition(topic, number) for topic in topics for number in self._partitions]
        found = set()
        for place, (begin, end) in (await self._reader.ranges(places)).items():
            async for records in self._reader.read(place, begin, end):
                for record in records:
                    headers = dict(record.headers)
                    ours = headers.get("dlqconsumer") == self._settings.group.encode()
                    if ours and headers["dlqreason"].startswith(REFUSED.encode()):
                        found.add(
                            (
                                headers["dlqtopic"].decode(),
                                int(headers["dlqpartition"]),
                                int(headers["dlqoffset"]),
                            )
                        )
        return frozenset(found)

    async def _fold(self, number: int, dead: frozenset[tuple[str, int, int]]) -> OfPartition:
        part = OfPartition()
        for topic in self._settings.topics:
            place = TopicPartition(topic, number)
            async for records in self._reader.read(place, *self._ranges[place]):
                alive = [record for record in records if (record.topic, number, record.offset) not in dead]
                readable = list(_readable(alive))
                part.add(event for _, event in readable)
                if self._base(topic) == SAGA_EVENTS.base:
                    for record, _ in readable:
                        self._states.add(dict(record.headers))
        return part

    async def _compare(self, matching: Matching, table: str, told: Rows, partition: int | None) -> None:
        async for stored in self._stored(table, partition):
            matching.match(table, dict(stored), told)
        matching.rest(table, told)

    async def _stored(self, table: str, partition: int | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """Every row, or those that a partition of the log tells."""
        query = f"SELECT * FROM {self._schema}.{table}"  # noqa: S608  # our own names
        if partition is not None:
            query += f" WHERE (number & 65535) = {partition}"
        async for row in self._connection.cursor(query, prefetch=1_000):
            yield row

    async def _cutoffs(self) -> list[Cutoff]:
        return [Cutoff(**row) async for row in self._stored("cutoffs")]

    async def _compare_states(self) -> None:
        """The count of runs in each final state, from nothing but the names of events."""
        cutoffs = {cutoff.kind: cutoff.before for cutoff in await self._cutoffs()}
        since = cutoffs.get("finished", datetime.min.replace(tzinfo=UTC))
        query = f"SELECT state, count(*) FROM {self._schema}.runs WHERE updated_at >= $1 GROUP BY state"  # noqa: S608
        stored = {row["state"]: row["count"] for row in await self._connection.fetch(query, since)}
        for state, count in self._states.final(since).items():
            if stored.get(state, 0) != count:
                self._report.add(
                    Difference("runs", (f"all that are {state}",), "count", stored.get(state, 0), count)
                )

    async def _name_unknown_tables(self) -> None:
        """Nothing goes unverified because it is new."""
        query = """
            SELECT relname FROM pg_class
            WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p') AND NOT relispartition
        """
        for row in await self._connection.fetch(query, self._schema):
            if row["relname"] not in {*_TOLD_ELSEWHERE, *KEYS}:
                self._report.add(Difference(row["relname"], ("the table",), None, "there", None))

    def _base(self, topic: str) -> str:
        return topic.removeprefix(f"{self._settings.topic_prefix}.")


def _readable(records: Iterable[ConsumerRecord]) -> Iterator[tuple[ConsumerRecord, Event]]:
    """Without those that nobody can read."""
    for record in records:
        with suppress(InvalidEnvelope, Undecodable):
            yield record, read(record)
