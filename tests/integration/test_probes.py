"""What the probes say of each service, from its start to its end: Kubernetes acts on nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.health import Health
from sagahook.runtime.migrations import migrate
from sagahook.runtime.topics import ensure_topics
from sagahook_notifier.adapters.schema import TABLES as NOTIFIER_TABLES
from sagahook_tracker.adapters.schema import view_tables
from tests.processes import halted
from tests.runner_harness import RunnerHarness
from tests.service_process import ServiceProcess, running

INGEST, RUNNER = ("sagahook_ingest",), ("sagahook_runner",)
PROJECTOR, API = ("sagahook_tracker", "project"), ("sagahook_tracker", "api")
NOTIFIER, NOTIFIER_API = ("sagahook_notifier", "run"), ("sagahook_notifier", "api")
EVERY = (INGEST, RUNNER, PROJECTOR, API, NOTIFIER, NOTIFIER_API)
NEEDS_NO_KAFKA = {"sagahook_tracker-api", "sagahook_notifier-api"}
"""They answer from PostgreSQL, and say 503 only to what must go into the log."""


def environment(bootstrap: str, prefix: str, database_url: str, folder: Path) -> dict[str, str]:
    return {
        "SAGAHOOK_KAFKA": bootstrap,
        "SAGAHOOK_TOPIC_PREFIX": prefix,
        "SAGAHOOK_APP": "tests.apps.effects",
        "EFFECTS_FILE": str(folder / "effects"),
        "DATABASE_URL": database_url,
        "SAGAHOOK_SECRET_KEY": "of the tests, and long enough",
    }


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    """For this test to halt."""
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    (tmp_path / "kafka").mkdir()
    await kafka.start()
    yield kafka
    await kafka.stop()


async def until_all(services: list[ServiceProcess], path: str, status: int) -> None:
    await asyncio.gather(*(service.until(path, status) for service in services))


@pytest.mark.parametrize("kinds", [(INGEST, PROJECTOR), pytest.param(EVERY, marks=pytest.mark.long)])
async def test_each_service_starts_once_its_topics_and_tables_are_there_and_outlives_kafka(
    broker: EmbeddedKafka, database_url: str, tmp_path: Path, kinds: tuple[tuple[str, ...], ...]
) -> None:
    given = environment(broker.bootstrap, "probes", database_url, tmp_path)
    async with running(tmp_path, given, *kinds) as services:
        await until_all(services, "/livez", 200)
        assert {await service.status("/startupz") for service in services} == {503}
        await ensure_topics(broker.bootstrap, "probes", 1)
        for tables in (view_tables([]), NOTIFIER_TABLES):
            await migrate(database_url, tables.schema, tables.migrations)
        await until_all(services, "/startupz", 200)
        await until_all(services, "/readyz", 200)
        with halted(broker.pid):
            others = [each for each in services if each.name.rpartition("-")[0] not in NEEDS_NO_KAFKA]
            await until_all(others, "/readyz", 503)
            for path in ("/livez", "/startupz"):
                assert {await service.status(path) for service in services} == {200}
        await until_all(services, "/readyz", 200)


async def test_a_loop_that_is_held_up_is_not_live(
    kafka_bootstrap: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 4)
    blocked = tmp_path / "blocked"
    blocked.touch()
    given = environment(kafka_bootstrap, topic_prefix, database_url, tmp_path) | {
        "SAGAHOOK_APP": "tests.apps.blocking",
        "BLOCKED_WHILE": str(blocked),
    }
    async with running(tmp_path, given, RUNNER) as [runner]:
        await runner.until("/readyz", 200)
        await RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path).publish([{"id": "1"}], source="blocking")
        async with asyncio.timeout(20):
            while await runner.status("/livez", seconds=1.0) == 200:
                await asyncio.sleep(0.05)
        blocked.unlink()
        await runner.until("/livez", 200)


def test_a_loop_that_turns_no_more_is_not_live_and_one_that_never_turned_is_starting() -> None:
    health = Health(stalled_after=0.0)
    assert health.is_live()
    health.tick()
    assert not health.is_live()


async def test_a_service_that_stops_is_unready_at_once_and_still_answers_until_load_balancers_know(
    kafka_bootstrap: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    given = environment(kafka_bootstrap, topic_prefix, database_url, tmp_path) | {
        "SAGAHOOK_STOP_DELAY": "60",
        "SAGAHOOK_SOURCES": '{"orders": {}}',
    }
    async with running(tmp_path, given, INGEST) as [ingest], aiohttp.ClientSession() as session:
        await ingest.until("/readyz", 200)
        async with session.post(f"{ingest.url}/webhooks/orders", json={}) as before:
            assert (before.status, before.headers.get("Connection")) == (202, None)
        ingest.process.terminate()
        await ingest.until("/readyz", 503)
        assert await ingest.status("/livez") == 200
        async with session.post(f"{ingest.url}/webhooks/orders", json={}) as meanwhile:
            assert (meanwhile.status, meanwhile.headers["Connection"]) == (202, "close")
        assert await ingest.terminate() == 0  # who says it twice does not want to wait
