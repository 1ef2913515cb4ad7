"""Deliveries under way and the outbox, in PostgreSQL. Every call is one transaction, and raises Unavailable while the
database is away, or NotMigrated where its tables are not there."""

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
from orjson import dumps

from sagahook.runtime.database import reaching_database
from sagahook_notifier.adapters.vault import Unreadable, Vault
from sagahook_notifier.domain.credentials import Credentials
from sagahook_notifier.domain.deliveries import Claimed, Finished, announcements
from sagahook_notifier.domain.policies import Exhausted, RetryAt, RetryPolicy

queries: Any = aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg")


class Store:
    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

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
                _claimed(row, self._vault, now)
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


def _claimed(row: Mapping[str, Any], vault: Vault, now: datetime) -> Claimed:
    credentials, unsigned = Credentials(), None
    if row["sealed"] is not None:
        try:
            credentials = vault.open(row["endpoint_id"], row["sealed"])
        except Unreadable as unreadable:
            unsigned = str(unreadable)
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
        content_type=row["content_type"],
        attempt=row["attempts"] + 1,
        attempts_before=row["attempts_before"],
        url=row["url"],
        secrets=credentials.secrets_at(now),
        signing_source=row["signing_source"],
        unsigned=unsigned,
        headers=credentials.headers,
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
