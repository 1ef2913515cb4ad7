"""What a webhook, a three-step saga and an outbound webhook take: bytes in Kafka and PostgreSQL, and memory.

    python -m bench.capacity [WEBHOOKS]

On servers of its own with the real services: so many webhooks of 500 bytes that start nothing, then as many that start
a saga of three steps each, which an endpoint is told of. Sizes are of Kafka's log files, one copy, and of PostgreSQL's
tables with their indexes after a VACUUM. docs/operating/capacity.md reckons with what it prints.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]  # it ships no types

from bench.drill_services import Services
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.migrations import migrate_all
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.topics import ALL_TOPICS
from tests.notifier_harness import open_receiver

WEBHOOKS = 2_000
BODY_BYTES = 500
PREFIX = "capacity"
PARTITIONS = 4
_AT_ONCE = 64
_MOST_SECONDS = 600.0


@dataclass(frozen=True)
class Sizes:
    """Bytes by topic, and by table with its schema."""

    kafka: Mapping[str, int]
    postgres: Mapping[str, int]

    def since(self, before: Sizes) -> Sizes:
        return Sizes(
            {name: size - before.kafka[name] for name, size in self.kafka.items()},
            {name: size - before.postgres.get(name, 0) for name, size in self.postgres.items()},
        )


@dataclass
class World:
    folder: Path
    database_url: str
    services: Services
    http: aiohttp.ClientSession
    sent: int = 0

    async def send(self, count: int, **fields: Any) -> None:
        """So many webhooks, and wait until all is told of them: sagas final, views and deliveries caught up."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            body = {"id": f"{number:08}", "amount": 4_200, "customer": f"c-{number:08}", **fields, "note": ""}
            body["note"] = "x" * (BODY_BYTES - len(str(body)))
            async with gate, self.http.post(f"{self.services.api}/webhooks/capacity", json=body) as answer:
                assert answer.status == 202, await answer.text()

        await asyncio.gather(*(one(self.sent + number) for number in range(count)))
        self.sent += count

    async def until(self, query: str, value: int) -> None:
        """Until PostgreSQL answers the query with the value."""
        connection = await asyncpg.connect(self.database_url)
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                while (found := await connection.fetchval(query)) < value:
                    await asyncio.sleep(0.5)
                    print(f"\r  {found:,} of {value:,}", end="", flush=True)
            print("\r", end="")
        finally:
            await connection.close()

    async def sizes(self) -> Sizes:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("VACUUM ANALYZE")
            rows = await connection.fetch(
                """
                SELECT schemaname || '.' || relname AS name, pg_total_relation_size(relid) AS size
                FROM pg_stat_user_tables WHERE schemaname IN ('tracker', 'notifier')
                """
            )
        finally:
            await connection.close()
        kafka = {
            topic.base: sum(
                file.stat().st_size
                for number in range(PARTITIONS)
                for file in (self.folder / "kafka" / "logs" / f"{topic.name(PREFIX)}-{number}").glob("*.log")
            )
            for topic in ALL_TOPICS
        }
        return Sizes(kafka, {row["name"]: row["size"] for row in rows})


async def measure(world: World, webhooks: int) -> tuple[Sizes, Sizes]:
    """Of the webhooks alone; of those with their sagas and deliveries."""
    empty = await world.sizes()
    await world.send(webhooks, skip=True)
    await world.until("SELECT count(*) FROM tracker.standings WHERE processed", webhooks)
    ignored = await world.sizes()
    await world.send(webhooks)
    await world.until("SELECT count(*) FROM tracker.standings WHERE processed", 2 * webhooks)
    await world.until("SELECT count(*) FROM tracker.deliveries WHERE status = 'delivered'", webhooks)
    return ignored.since(empty), (await world.sizes()).since(ignored)


def report(title: str, sizes: Sizes, count: int) -> None:
    print(f"\n{title}, bytes each")
    for where, parts in (("Kafka, one copy", sizes.kafka), ("PostgreSQL", sizes.postgres)):
        print(f"  {where:38} {sum(parts.values()) / count:10,.0f}")
        for name, size in sorted(_grouped(parts).items(), key=lambda part: -part[1]):
            if size / count >= 1:
                print(f"    {name:36} {size / count:10,.0f}")


def _grouped(parts: Mapping[str, int]) -> Counter[str]:
    """Partitions of a table by day as one."""
    found: Counter[str] = Counter()
    for name, size in parts.items():
        found[name.rstrip("0123456789_") or name] += size
    return found


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kafka = EmbeddedKafka(folder / "kafka", await prepare_kafka(), heap_mb=512)
        postgres = EmbeddedPostgres(folder / "postgres")
        try:
            await asyncio.gather(kafka.start(), postgres.start())
            await ensure_topics(kafka.bootstrap, PREFIX, PARTITIONS)
            await migrate_all(postgres.url)
            environment = {
                "SAGAHOOK_KAFKA": kafka.bootstrap,
                "SAGAHOOK_TOPIC_PREFIX": PREFIX,
                "DATABASE_URL": postgres.url,
                "SAGAHOOK_APP": "bench.capacity_app",
            }
            services = Services(environment, folder / "logs", source="capacity")
            try:
                await services.start()
                async with aiohttp.ClientSession() as http:
                    yield World(folder, postgres.url, services, http)
            finally:
                await services.stop()
        finally:
            await asyncio.gather(kafka.stop(), postgres.stop())


async def main(webhooks: int) -> None:
    async with open_receiver() as receiver, open_world() as world:
        asked = {"url": f"{receiver.url}/hook", "event_types": ["task_completed"]}
        await world.services.ask(world.http, "POST", "/api/v1/endpoints", asked)
        ignored, with_saga = await measure(world, webhooks)
        report(f"{webhooks:,} webhooks of {BODY_BYTES} bytes that start nothing", ignored, webhooks)
        report(f"{webhooks:,} webhooks with a saga of three steps and one delivery", with_saga, webhooks)
        print("\nresident memory, MB")
        for name, pid in world.services.pids().items():
            print(f"  {name:38} {psutil.Process(pid).memory_info().rss / 1e6:10,.0f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else WEBHOOKS))
