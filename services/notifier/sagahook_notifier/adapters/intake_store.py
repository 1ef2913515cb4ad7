"""What intake reads and keeps in PostgreSQL. Every call is one transaction, and raises Unavailable while the database
is away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
from aiokafka import TopicPartition
from orjson import dumps, loads

from sagahook.runtime.batches import Batch, Batches, OffsetsMoved
from sagahook.runtime.database import reaching_database
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.domain.deliveries import Claimed, Places, Target
from sagahook_notifier.domain.endpoints import FINAL_TYPES, Subscriber
from sagahook_notifier.domain.plan import Known, NewDelivery, Plan, Subscription
from sagahook_notifier.domain.retention import BEGINNING
from sagahook_notifier.domain.sagas import FINAL, SagaView

queries: Any = aiosql.from_path(Path(__file__).with_name("intake.sql"), "asyncpg")


class IntakeStore:
    def __init__(self, pool: asyncpg.Pool, targets: Targets) -> None:
        self._pool = pool
        self._targets = targets
        self._fence = BEGINNING
        self._subscribers: tuple[Subscriber, ...] = ()
        self._subscribers_version: str | None = None

    async def load_offsets(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """And the fence as of now: where it is raised later, `keep` refuses, and whoever reads begins here again."""
        topics = sorted({partition.topic for partition in partitions})
        with reaching_database():
            self._fence = await queries.load_fence(self._pool)
            stored = {
                TopicPartition(row["topic"], row["partition"]): row["next_offset"]
                async for row in queries.load_offsets(self._pool, topics=topics)
            }
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def known(self, saga_ids: Collection[str], subscribers: Sequence[Subscriber]) -> Known:
        with reaching_database():
            rows = [row async for row in queries.load_known(self._pool, saga_ids=list(saga_ids))]
        return Known(
            views={row["saga_id"]: _view(row["view"]) for row in rows if row["endpoint_id"] is None},
            subscriptions=[
                Subscription(
                    row["saga_id"], row["endpoint_id"], row["correlation_id"], row["run"], row["sequence"]
                )
                for row in rows
                if row["endpoint_id"] is not None
            ],
            subscribers=subscribers,
            fence=self._fence,
        )

    async def keep(self, made: Plan, batches: Batches, now: datetime, places: Places) -> list[Claimed]:
        """The plan and the batches' next offsets together, or nothing. Returns the deliveries that were made for these
        places: those for which there is none, and those of endpoints whose claims have more to decide, are not among
        them. Raises OffsetsMoved where the batches do not begin at the stored offsets, or the plan was made by an older
        fence."""
        arguments = _offsets(batches) | _sagas(made) | _deliveries(made) | _held(made, places)
        with reaching_database():
            async with self._pool.acquire() as connection:
                try:
                    rows = [
                        row
                        async for row in queries.keep(connection, fence=self._fence, now=now, **arguments)
                        if row["id"] is not None
                    ]
                except asyncpg.DivisionByZeroError:
                    raise OffsetsMoved("a partition stands elsewhere, or what is old was let go") from None
                targets = await self._targets.of(
                    connection, {row["endpoint_id"]: row["version"] for row in rows}
                )
        planned = {each.delivery_id: each for each in made.deliveries}
        return [
            _claimed(planned[row["id"]], targets[row["endpoint_id"]], row["ailing"], places) for row in rows
        ]

    async def subscribers(self) -> tuple[Subscriber, ...]:
        """The same object as long as nothing changes."""
        with reaching_database():
            rows = [row async for row in queries.subscribers(self._pool, known=self._subscribers_version)]
        if rows[0]["version"] != self._subscribers_version:
            self._subscribers = tuple(_subscriber(row) for row in rows if row["id"] is not None)
            self._subscribers_version = rows[0]["version"]
        return self._subscribers


def _subscriber(row: Mapping[str, Any]) -> Subscriber:
    return Subscriber(
        endpoint_id=row["id"],
        event_types=tuple(row["event_types"]),
        registered_at=row["created_at"],
        sources=None if row["sources"] is None else tuple(row["sources"]),
        payload_format=row["payload_format"],
        sagas=None if row["sagas"] is None else tuple(row["sagas"]),
        filter=row["filter"],
    )


def _offsets(batches: Batches) -> dict[str, Any]:
    return {
        "topics": [partition.topic for partition in batches],
        "partitions": [partition.partition for partition in batches],
        "expected": [batch.first_offset for batch in batches.values()],
        "next": [batch.next_offset for batch in batches.values()],
        "read_until": [_last_time(batch) for batch in batches.values()],
    }


def _last_time(batch: Batch) -> datetime | None:
    """None where it holds no records."""
    if not batch.records:
        return None
    return datetime.fromtimestamp(batch.records[-1].timestamp / 1000, UTC)


def _sagas(made: Plan) -> dict[str, Any]:
    """Their views, and who waits for them."""
    return {
        "saga_ids": list(made.views),
        "views": [dumps(view).decode() for view in made.views.values()],
        "final": [view.state in FINAL for view in made.views.values()],
        "event_types": FINAL_TYPES,
        "caller_ids": list(made.endpoints),
        "caller_urls": [endpoint.url for endpoint in made.endpoints.values()],
        "caller_sources": [endpoint.source for endpoint in made.endpoints.values()],
        "waited_sagas": [each.saga_id for each in made.subscriptions],
        "waiters": [each.endpoint_id for each in made.subscriptions],
        "waited_correlations": [each.correlation_id for each in made.subscriptions],
        "waited_runs": [each.run for each in made.subscriptions],
        "waited_sequences": [each.sequence for each in made.subscriptions],
    }


def _deliveries(made: Plan) -> dict[str, Any]:
    return {
        "ids": [each.delivery_id for each in made.deliveries],
        "endpoint_ids": [each.endpoint_id for each in made.deliveries],
        "event_ids": [each.event_id for each in made.deliveries],
        "types": [each.event_type for each in made.deliveries],
        "about_sagas": [each.saga_id for each in made.deliveries],
        "runs": [each.run for each in made.deliveries],
        "correlation_ids": [each.correlation_id for each in made.deliveries],
        "bodies": [each.body for each in made.deliveries],
        "content_types": [each.content_type for each in made.deliveries],
        "traceparents": [each.traceparent or None for each in made.deliveries],
    }


def _held(made: Plan, places: Places) -> dict[str, Any]:
    """Of each endpoint the first ones, as many as there are places."""
    left = Counter(places.by_endpoint)
    held = []
    for each in made.deliveries:
        held.append(left[each.endpoint_id] > 0)
        left[each.endpoint_id] -= 1
    return {"held": held, "token": places.lease_token, "held_until": places.leased_until}


def _claimed(made: NewDelivery, target: Target, ailing: bool, places: Places) -> Claimed:
    return Claimed(
        delivery_id=made.delivery_id,
        lease_token=places.lease_token,
        leased_until=places.leased_until,
        target=target,
        event_id=made.event_id,
        event_type=made.event_type,
        saga_id=made.saga_id,
        run=made.run,
        correlation_id=made.correlation_id,
        body=made.body,
        content_type=made.content_type,
        attempt=1,
        ailing=ailing,
        traceparent=made.traceparent,
    )


def _view(text: str) -> SagaView:
    stored = loads(text)
    return SagaView(**stored | {"correlation_ids": tuple(stored["correlation_ids"])})
