"""Endpoints and what people ask of their deliveries, in PostgreSQL. Every call is one transaction, and raises Unavailable
while the database is away, or NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.runtime.database import reaching_database
from sagahook_notifier.domain.endpoints import EndpointConfig

queries: Any = aiosql.from_path(Path(__file__).with_name("endpoints.sql"), "asyncpg")


class EndpointStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ping(self) -> None:
        """Returns where the database answers."""
        with reaching_database():
            await self._pool.fetchval("SELECT 1")

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
