"""The notifier's rows in PostgreSQL. Every call is one transaction, and raises Unavailable while the database is
away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiosql
import asyncpg
from aiokafka import TopicPartition
from orjson import dumps, loads
from pydantic import SecretStr

from sagahook.runtime.batches import Batches, OffsetsMoved
from sagahook.runtime.database import reaching_database
from sagahook_notifier.domain.deliveries import Claimed, Finished, announcements
from sagahook_notifier.domain.endpoints import FINAL_TYPES, EndpointConfig, Subscriber
from sagahook_notifier.domain.plan import Known, Plan, Subscription
from sagahook_notifier.domain.policies import Exhausted, RetryAt, RetryPolicy
from sagahook_notifier.domain.sagas import SagaView

queries: Any = aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg")

SCHEMA = "notifier"
MIGRATIONS = Path(__file__).parents[1] / "migrations"


class Store:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ping(self) -> None:
        """Returns where the database answers."""
        with reaching_database():
            await self._pool.fetchval("SELECT 1")

    # Endpoints

    async def put_endpoints(self, configured: Sequence[EndpointConfig], now: datetime) -> None:
        """Make the configured endpoints what the configuration says, and switch off those it no longer has."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                for endpoint in configured:
                    await queries.put_endpoint(
                        connection,
                        id=endpoint.id,
                        url=endpoint.url,
                        secret=endpoint.secret.get_secret_value(),
                        event_types=endpoint.event_types,
                        sources=endpoint.sources,
                        payload_format=endpoint.payload_format,
                        retry_policy=endpoint.retry_policy,
                        headers={name: value.get_secret_value() for name, value in endpoint.headers.items()},
                        enabled=endpoint.enabled,
                        now=now,
                    )
                await queries.disable_other_endpoints(connection, ids=[each.id for each in configured])

    async def subscribers(self) -> list[Subscriber]:
        with reaching_database():
            return [
                Subscriber(
                    endpoint_id=row["id"],
                    event_types=tuple(row["event_types"]),
                    registered_at=row["created_at"],
                    sources=None if row["sources"] is None else tuple(row["sources"]),
                    payload_format=row["payload_format"],
                )
                async for row in queries.subscribers(self._pool)
            ]

    # Intake

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

    # Dispatch

    async def claim(
        self,
        *,
        token: UUID,
        now: datetime,
        lease: timedelta,
        sending: Mapping[str, int],
        per_endpoint: int,
        free: int,
    ) -> list[Claimed]:
        """Due deliveries, now ours until `lease` is over. sending: how many are under way, by endpoint."""
        with reaching_database():
            return [
                _claimed(row)
                async for row in queries.claim(
                    self._pool,
                    token=token,
                    now=now,
                    lease_ends=now + lease,
                    busy_endpoints=list(sending),
                    busy_counts=list(sending.values()),
                    per_endpoint=per_endpoint,
                    free=free,
                )
            ]

    async def next_due(self, full_endpoints: Collection[str]) -> datetime | None:
        """When an endpoint that is not full has something to send next."""
        with reaching_database():
            at: datetime | None = await queries.next_due(self._pool, full_endpoints=list(full_endpoints))
            return at

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        """Keep what became of claimed deliveries. Returns the ids of those whose lease was still ours; of the
        others nothing is kept: another dispatcher has them."""
        told = [
            (each.claimed.delivery_id, envelope, event)
            for each in finished
            for envelope, event in announcements(each)
        ]
        with reaching_database():
            rows = queries.record_attempts(
                self._pool,
                ids=[each.claimed.delivery_id for each in finished],
                tokens=[each.claimed.lease_token for each in finished],
                statuses=[_status(each) for each in finished],
                claimable=[_claimable_at(each) for each in finished],
                attempts=[each.claimed.attempt for each in finished],
                started=[each.exchange.started_at for each in finished],
                durations=[each.exchange.duration_ms for each in finished],
                request_headers=[dumps(each.exchange.request_headers).decode() for each in finished],
                status_codes=[each.exchange.status_code for each in finished],
                response_excerpts=[each.exchange.response_excerpt for each in finished],
                errors=[each.error for each in finished],
                now=finished[-1].at,
                message_keys=[key for key, _, _ in told],
                message_headers=[
                    dumps([(name, value.decode()) for name, value in envelope.to_headers()]).decode()
                    for _, envelope, _ in told
                ],
                message_values=[event.to_json().decode() for _, _, event in told],
            )
            return {row["id"] async for row in rows}

    async def release(self, claimed: Iterable[Claimed], now: datetime) -> None:
        held = list(claimed)
        with reaching_database():
            await queries.release(
                self._pool,
                ids=[each.delivery_id for each in held],
                tokens=[each.lease_token for each in held],
                now=now,
            )

    # Outbox

    @asynccontextmanager
    async def outbox(self) -> AsyncIterator[OutboxQueue | None]:
        """None where another process has it. It is ours as long as the block's one connection lives."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                yield OutboxQueue(connection) if await queries.become_publisher(connection) else None

    # What people ask

    async def delivery(self, delivery_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """The delivery and its attempts."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                row = await queries.delivery(connection, id=delivery_id)
                if row is None:
                    return None
                attempts = queries.attempts(connection, delivery_id=delivery_id)
                return dict(row), [dict(attempt) async for attempt in attempts]

    async def endpoint_deliveries(
        self, endpoint_id: str, *, status: str | None, most: int, skipped: int
    ) -> list[dict[str, Any]] | None:
        """Newest first; None: there is no such endpoint."""
        with reaching_database():
            async with self._pool.acquire() as connection:
                if not await queries.endpoint_exists(connection, id=endpoint_id):
                    return None
                rows = queries.endpoint_deliveries(
                    connection, endpoint_id=endpoint_id, status=status, most=most, skipped=skipped
                )
                return [dict(row) async for row in rows]


@dataclass(frozen=True, slots=True)
class Message:
    """A record on its way to Kafka. id: its place in the outbox."""

    id: int
    key: str
    headers: list[tuple[str, str]]
    value: str


class OutboxQueue:
    """The outbox, through the connection that holds the publisher's lock."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def first(self, most: int) -> list[Message]:
        with reaching_database():
            return [Message(**row) async for row in queries.read_outbox(self._connection, most=most)]

    async def remove(self, messages: Sequence[Message]) -> None:
        with reaching_database():
            await queries.delete_from_outbox(self._connection, ids=[message.id for message in messages])


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
            now=now,
        )


def _view(text: str) -> SagaView:
    stored = loads(text)
    return SagaView(**stored | {"correlation_ids": tuple(stored["correlation_ids"])})


def _claimed(row: Mapping[str, Any]) -> Claimed:
    return Claimed(
        delivery_id=row["id"],
        lease_token=row["lease_token"],
        endpoint_id=row["endpoint_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        saga_id=row["saga_id"],
        run=row["run"],
        correlation_id=row["correlation_id"],
        body=row["body"],
        attempt=row["attempts"] + 1,
        url=row["url"],
        secret=None if row["secret"] is None else SecretStr(row["secret"]),
        signing_source=row["signing_source"],
        headers={name: SecretStr(value) for name, value in row["headers"].items()},
        policy=RetryPolicy.of(row["retry_policy"]),
    )


def _status(finished: Finished) -> str:
    match finished.outcome:
        case RetryAt():
            return "pending"
        case Exhausted():
            return "exhausted"
        case _:
            return "succeeded"


def _claimable_at(finished: Finished) -> datetime:
    return finished.outcome.at if isinstance(finished.outcome, RetryAt) else finished.at
