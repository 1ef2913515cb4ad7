"""Endpoints in PostgreSQL. Every call is one transaction, and raises Unavailable while the database is away, or
NotMigrated where its tables are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
from pydantic import SecretStr

from sagahook.runtime.database import reaching_database
from sagahook.runtime.logging import get_logger
from sagahook.runtime.sources import RateLimit
from sagahook_notifier.adapters.vault import Unreadable, Vault
from sagahook_notifier.domain.credentials import Credentials, Secret
from sagahook_notifier.domain.endpoints import (
    Endpoint,
    EndpointConfig,
    EndpointOptions,
    Origin,
    configured,
)

queries: Any = aiosql.from_path(Path(__file__).with_name("endpoints.sql"), "asyncpg")

log = get_logger(__name__)

MADE_BY_PEOPLE: tuple[Origin, ...] = ("configuration", "api")


class EndpointStore:
    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def ping(self) -> None:
        """Returns where the database answers."""
        with reaching_database():
            await self._pool.fetchval("SELECT 1")

    async def seal(self) -> None:
        """Encrypt by the newest key what is stored in the clear, or by another key."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                for row in [row async for row in queries.load_unsealed(connection)]:
                    await self._reseal(connection, row["id"], _in_the_clear(row))
                other = queries.load_sealed_otherwise(connection, key_id=self._vault.key_id)
                for row in [row async for row in other]:
                    try:
                        credentials = self._vault.open(row["id"], row["sealed"])
                    except Unreadable as unreadable:
                        log.error("endpoint.unreadable", endpoint=row["id"], error=str(unreadable))
                    else:
                        await self._reseal(connection, row["id"], credentials)

    async def _reseal(self, connection: asyncpg.Connection, id: str, credentials: Credentials) -> None:
        await queries.store_sealed(connection, id=id, sealed=self._vault.seal(id, credentials))

    async def put_configured(self, endpoints: Sequence[EndpointConfig], now: datetime) -> None:
        """Make the configured endpoints what the configuration says, and switch off those it no longer has."""
        for endpoint in endpoints:
            async with self._changing(endpoint.id) as (connection, before):
                after = configured(endpoint, before, now)
                if after is not before:
                    await self._save(connection, after)
        with reaching_database():
            await queries.disable_other_endpoints(self._pool, ids=[each.id for each in endpoints], now=now)

    async def find(self, id: str) -> Endpoint | None:
        with reaching_database():
            row = await queries.load_endpoint(self._pool, id=id)
        return None if row is None else self._endpoint(row)

    async def all(self, *, most: int, skipped: int) -> list[Endpoint]:
        """Those that people made, in the order in which they did."""
        with reaching_database():
            rows = queries.list_endpoints(self._pool, origins=MADE_BY_PEOPLE, most=most, skipped=skipped)
            return [self._endpoint(row) async for row in rows]

    async def add(self, endpoint: Endpoint) -> bool:
        """False: there is one of that id."""
        async with self._changing(endpoint.id) as (connection, before):
            if before is None:
                await self._save(connection, endpoint)
            return before is None

    async def change(self, id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint | None:
        """What it is now; None: there is none. What `change` raises passes through, and nothing is changed."""
        async with self._changing(id) as (connection, before):
            if before is None:
                return None
            after = change(before)
            await self._save(connection, after)
            if after.active and (not before.active or after.options.url != before.options.url):
                await queries.forget_failures(connection, id=id)
            return after

    async def enable_notify_url(self, id: str, now: datetime) -> None:
        """One that a webhook named for itself, and that was switched off."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await queries.enable_notify_endpoint(connection, id=id, now=now)
                await queries.forget_failures(connection, id=id)

    async def remove(self, id: str, now: datetime) -> None:
        """With its secrets; what waits to be sent is called off, and the rest of its deliveries stays."""
        async with self._changing(id) as (connection, _):
            await queries.remove_endpoint(connection, id=id, now=now)
            await queries.cancel_deliveries(connection, endpoint_id=id, now=now)

    async def statistics(self, id: str, since: datetime) -> Mapping[str, Any]:
        with reaching_database():
            row = await queries.endpoint_statistics(self._pool, endpoint_id=id, since=since)
            return dict(row)

    async def add_delivery(self, **delivery: Any) -> None:
        """One that is about no saga: by the names in the query."""
        with reaching_database():
            await queries.add_delivery(self._pool, **delivery)

    @asynccontextmanager
    async def _changing(self, id: str) -> AsyncIterator[tuple[asyncpg.Connection, Endpoint | None]]:
        """A transaction in which nobody else changes the endpoint, and what it is before."""
        with reaching_database():
            async with self._pool.acquire() as connection, connection.transaction():
                await queries.lock_new_endpoint(connection, id=id)
                row = await queries.lock_endpoint(connection, id=id)
                yield connection, None if row is None else self._endpoint(row)

    async def _save(self, connection: asyncpg.Connection, endpoint: Endpoint) -> None:
        options, rate, credentials = endpoint.options, endpoint.options.rate_limit, endpoint.credentials
        await queries.save_endpoint(
            connection,
            id=endpoint.id,
            origin=endpoint.origin,
            sealed=None if credentials is None else self._vault.seal(endpoint.id, credentials),
            rate_per_second=None if rate is None else rate.per_second,
            rate_burst=None if rate is None else rate.burst,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
            disabled_at=endpoint.disabled_at,
            disabled_reason=endpoint.disabled_reason,
            **{name: getattr(options, name) for name in _COLUMNS},
        )

    def _endpoint(self, row: Mapping[str, Any]) -> Endpoint:
        try:
            credentials = self._vault.open(row["id"], row["sealed"]) if row["sealed"] else Credentials()
        except Unreadable:
            credentials = None
        return Endpoint(
            id=row["id"],
            origin=row["origin"],
            options=_options(row, credentials),
            credentials=credentials,
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            disabled_at=row["disabled_at"],
            disabled_reason=row["disabled_reason"],
            signing_source=row["signing_source"],
        )


_COLUMNS = (
    "url",
    "description",
    "event_types",
    "sources",
    "sagas",
    "filter",
    "payload_format",
    "retry_policy",
    "ordered",
    "enabled",
)


def _options(row: Mapping[str, Any], credentials: Credentials | None) -> EndpointOptions:
    """As they were stored: what was right then is not judged again."""
    rate = None if row["rate_burst"] is None else RateLimit(row["rate_per_second"], row["rate_burst"])
    headers = {} if credentials is None else dict(credentials.headers)
    stored: dict[str, Any] = {
        name: tuple(row[name]) if isinstance(row[name], list) else row[name] for name in _COLUMNS
    }
    return EndpointOptions.model_construct(**stored, headers=headers, rate_limit=rate)


def _in_the_clear(row: Mapping[str, Any]) -> Credentials:
    secrets = () if row["secret"] is None else (Secret(SecretStr(row["secret"]), row["created_at"]),)
    return Credentials(secrets, {name: SecretStr(value) for name, value in row["headers"].items()})
