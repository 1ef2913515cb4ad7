"""The notifier's HTTP API over a real database of its own; Kafka takes the records of what is done."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import aiohttp
import asyncpg

from sagahook_notifier.wiring import build_app
from tests.databases import open_migrated_database
from tests.notifier_harness import PARTITIONS, notifier_settings
from tests.topics import open_topics
from tests.tracker_harness import serving

KEYS = {role: sha256(role.encode()).hexdigest() for role in ("reader", "operator", "admin")}
NO_LIMITS: dict[str, Any] = {"api_rate_limit": "none", "open_rate_limit": "none"}


@dataclass(frozen=True)
class Said:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Api:
    url: str
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = "admin") -> Said:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as response:
            text = await response.text()
            return Said(response.status, json.loads(text) if text else None, dict(response.headers))

    async def get(self, path: str, key: str | None = "admin") -> Said:
        return await self.ask("GET", path, key=key)

    async def post(self, path: str, body: Any = None) -> Said:
        return await self.ask("POST", path, body)

    async def add(self, **endpoint: Any) -> dict[str, Any]:
        """A new endpoint, as the answer shows it."""
        said = await self.post("/api/v1/endpoints", {"url": "https://crm.example/hooks", **endpoint})
        assert said.status == 201, said
        return dict(said.body)


@dataclass(frozen=True)
class Kept:
    """The notifier's tables. log: the settings of a Kafka that is there."""

    url: str
    pool: asyncpg.Pool
    log: dict[str, Any]

    async def delivery(
        self, endpoint_id: str, status: str, *, hours_ago: float = 0, attempts: int = 1
    ) -> str:
        """One that is there, with its attempts; the last one succeeded where the delivery did."""
        made, id = datetime.now(UTC) - timedelta(hours=hours_ago), str(uuid.uuid4())
        await self.pool.execute(
            """
            INSERT INTO notifier.deliveries (
                id, endpoint_id, event_id, event_type, saga_id, run, correlation_id, body, status, attempts,
                claimable_at, created_at, finished_at
            )
            VALUES ($1, $2, 's-1/1/1', 'task_completed', 's-1', 1, 'c-1', '{"type": "task_completed"}', $3, $4, $5, $5,
                CASE WHEN $3 <> 'pending' THEN $5::timestamptz END)
            """,
            *(id, endpoint_id, status, attempts, made),
        )
        for attempt in range(1, attempts + 1):
            failed = status != "succeeded" or attempt < attempts
            await self.pool.execute(
                """
                INSERT INTO notifier.attempts (
                    delivery_id, attempt, started_at, duration_ms, request_headers, status_code, response_excerpt, error
                )
                VALUES ($1, $2, $3, $4, '{"webhook-signature": "[removed]"}', $5, 'said', $6)
                """,
                *(id, attempt, made, 10.0 * attempt, 500 if failed else 204),
                "the receiver answered 500" if failed else None,
            )
        return id

    async def row(self, delivery_id: str) -> dict[str, Any]:
        return dict(await self.pool.fetchrow("SELECT * FROM notifier.deliveries WHERE id = $1", delivery_id))


@asynccontextmanager
async def open_kept(postgres_url: str, kafka: str) -> AsyncIterator[Kept]:
    async with (
        open_migrated_database(postgres_url) as url,
        open_topics(kafka, PARTITIONS) as prefix,
        asyncpg.create_pool(url, min_size=0, max_size=4) as pool,
    ):
        yield Kept(url, pool, {"kafka": kafka, "topic_prefix": prefix})


@asynccontextmanager
async def open_api(database_url: str, *endpoints: dict[str, Any], **settings: Any) -> AsyncIterator[Api]:
    """endpoints: those of the configuration."""
    given = {"api_keys": json.dumps(KEYS), "database_url": database_url, **NO_LIMITS, **settings}
    app = build_app(notifier_settings(endpoints, **given))
    async with serving(app) as url, aiohttp.ClientSession() as http:
        yield Api(url, http)
