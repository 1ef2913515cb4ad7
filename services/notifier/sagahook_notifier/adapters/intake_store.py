"""What intake reads and keeps in PostgreSQL. Every call is one transaction, and raises Unavailable while the database
is away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
from aiokafka import TopicPartition
from orjson import dumps, loads

from sagahook.runtime.batches import Batches, OffsetsMoved
from sagahook.runtime.database import reaching_database
from sagahook_notifier.domain.endpoints import FINAL_TYPES, Subscriber
from sagahook_notifier.domain.plan import Known, Plan, Subscription
from sagahook_notifier.domain.sagas import SagaView

queries: Any = aiosql.from_path(Path(__file__).with_name("intake.sql"), "asyncpg")


class IntakeStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            stored = {
                TopicPartition(row["topic"], row["partition"]): row["next_offset"]
                async for row in queries.load_offsets(self._pool, topics=topics)
            }
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def known(self, saga_ids: Collection[str], subscribers: Sequence[Subscriber]) -> Known:
        ids = list(saga_ids)
        with reaching_database():
            async with self._pool.acquire() as connection:
                views = [row async for row in queries.load_sagas(connection, saga_ids=ids)]
                waiting = [row async for row in queries.load_subscriptions(connection, saga_ids=ids)]
        return Known(
            views={row["saga_id"]: _view(row["view"]) for row in views},
            subscriptions=[Subscription(**row) for row in waiting],
            subscribers=subscribers,
        )

    async def keep(self, made: Plan, batches: Batches, now: datetime) -> None:
        """The plan and the batches' next offsets together, or nothing. Raises OffsetsMoved where the batches do
        not begin at the stored offsets."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await _advance(connection, batches)
                await _store_plan(connection, made, now)

    async def subscribers(self) -> list[Subscriber]:
        with reaching_database():
            return [
                Subscriber(
                    endpoint_id=row["id"],
                    event_types=tuple(row["event_types"]),
                    registered_at=row["created_at"],
                    sources=None if row["sources"] is None else tuple(row["sources"]),
                    payload_format=row["payload_format"],
                    sagas=None if row["sagas"] is None else tuple(row["sagas"]),
                    filter=row["filter"],
                )
                async for row in queries.subscribers(self._pool)
            ]


async def _advance(connection: asyncpg.Connection, batches: Batches) -> None:
    moved = await queries.advance_offsets(
        connection,
        topics=[partition.topic for partition in batches],
        partitions=[partition.partition for partition in batches],
        expected=[batch.first_offset for batch in batches.values()],
        next=[batch.next_offset for batch in batches.values()],
    )
    if moved != len(batches):
        raise OffsetsMoved(f"{len(batches) - moved} of {len(batches)} partitions stand elsewhere")


async def _store_plan(connection: asyncpg.Connection, made: Plan, now: datetime) -> None:
    if made.views:
        await queries.store_sagas(
            connection,
            saga_ids=list(made.views),
            views=[dumps(view).decode() for view in made.views.values()],
        )
    if made.endpoints:
        await queries.add_notify_endpoints(
            connection,
            ids=list(made.endpoints),
            urls=[endpoint.url for endpoint in made.endpoints.values()],
            sources=[endpoint.source for endpoint in made.endpoints.values()],
            event_types=FINAL_TYPES,
            now=now,
        )
    if made.subscriptions:
        await queries.add_subscriptions(
            connection,
            saga_ids=[each.saga_id for each in made.subscriptions],
            endpoint_ids=[each.endpoint_id for each in made.subscriptions],
            correlation_ids=[each.correlation_id for each in made.subscriptions],
            runs=[each.run for each in made.subscriptions],
            sequences=[each.sequence for each in made.subscriptions],
        )
    if made.deliveries:
        await queries.add_deliveries(
            connection,
            ids=[each.delivery_id for each in made.deliveries],
            endpoint_ids=[each.endpoint_id for each in made.deliveries],
            event_ids=[each.event_id for each in made.deliveries],
            event_types=[each.event_type for each in made.deliveries],
            saga_ids=[each.saga_id for each in made.deliveries],
            runs=[each.run for each in made.deliveries],
            correlation_ids=[each.correlation_id for each in made.deliveries],
            bodies=[each.body for each in made.deliveries],
            content_types=[each.content_type for each in made.deliveries],
            traceparents=[each.traceparent or None for each in made.deliveries],
            now=now,
        )


def _view(text: str) -> SagaView:
    stored = loads(text)
    return SagaView(**stored | {"correlation_ids": tuple(stored["correlation_ids"])})
