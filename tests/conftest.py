"""Real parts for the tests: Kafka and PostgreSQL, each once a session. A test that needs one never skips."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest
import pytest_asyncio
from docker.errors import DockerException
from hypothesis import settings

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook.runtime.collector import calm_the_collector
from tests.databases import migrated_once, open_database, open_migrated_database
from tests.topics import open_prefix

if TYPE_CHECKING:
    from tests.notifier_harness import Deployment, Receiver
    from tests.runner_harness import RunnerHarness

# How long an example takes says nothing about it on a machine that does other things too.
settings.register_profile("sagahook", deadline=None)
settings.load_profile("sagahook")


MEMORY = Path("/dev/shm")  # noqa: S108  # pytest makes directories there that only we may enter
ROOM = 4 * 2**30
"""Bytes that the files of a run and of those beside it may take."""


def pytest_configure() -> None:
    """Keeps the files of tests in memory, where there is room: a broker waits for the disk at each of the hundreds of
    files that the topics of one test are."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    """To look through all that was imported again and again takes a twentieth of the tests' own processor time."""
    calm_the_collector()


@cache
def docker_answers() -> bool:
    try:
        docker.from_env(timeout=2).ping()
    except (DockerException, OSError):
        return False
    return True


@pytest_asyncio.fixture(scope="session")
async def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """`SAGAHOOK_TEST_KAFKA`; else a container where a Docker daemon answers; else an embedded broker."""
    if given := os.environ.get("SAGAHOOK_TEST_KAFKA"):
        yield given
    elif docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        container = KafkaContainer("confluentinc/cp-kafka:8.0.0").with_kraft()
        for name in ("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_MIN_ISR"):
            container.with_env(f"KAFKA_{name}", "1")
        container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        container.with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
        await asyncio.to_thread(container.start)
        yield container.get_bootstrap_server()
        await asyncio.to_thread(container.stop)
    else:
        kafka = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), await prepare_kafka(), heap_mb=512)
        await kafka.start()
        yield kafka.bootstrap
        await kafka.stop()


@pytest_asyncio.fixture(scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """`SAGAHOOK_TEST_POSTGRES`; else a container where a Docker daemon answers; else an embedded server."""
    async with _postgres(tmp_path_factory) as url, migrated_once(url):
        yield url


@asynccontextmanager
async def _postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    if given := os.environ.get("SAGAHOOK_TEST_POSTGRES"):
        yield given
    elif docker_answers():
        from testcontainers.community.postgres import PostgresContainer

        container = PostgresContainer("postgres:18", driver=None)
        await asyncio.to_thread(container.start)
        yield container.get_connection_url()
        await asyncio.to_thread(container.stop)
    else:
        postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
        await postgres.start()
        yield postgres.url
        await postgres.stop()


@pytest_asyncio.fixture
async def topic_prefix(kafka_bootstrap: str) -> AsyncIterator[str]:
    """A prefix that no other test uses, for its topics, groups and transactional ids."""
    async with open_prefix(kafka_bootstrap) as prefix:
        yield prefix


@pytest_asyncio.fixture(scope="module")
async def module_prefix(kafka_bootstrap: str) -> AsyncIterator[str]:
    """A prefix that the tests of a module share."""
    async with open_prefix(kafka_bootstrap) as prefix:
        yield prefix


@pytest_asyncio.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database with every service's tables, dropped after the test."""
    async with open_migrated_database(postgres_url) as url:
        yield url


@pytest_asyncio.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database without tables, dropped after the test."""
    async with open_database(postgres_url) as url:
        yield url


# What the tests of a service have in common. Its harness is only imported where one of them runs.


@pytest_asyncio.fixture
async def runners(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator["RunnerHarness"]:
    """The runners of a deployment whose app is `tests.apps.effects`: none yet."""
    from tests.runner_harness import open_runners

    async with open_runners(kafka_bootstrap, topic_prefix, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator["Receiver"]:
    """Where outbound webhooks arrive."""
    from tests.notifier_harness import open_receiver

    async with open_receiver() as opened:
        yield opened


@pytest_asyncio.fixture
async def deployment(
    kafka_bootstrap: str, topic_prefix: str, database_url: str
) -> AsyncIterator["Deployment"]:
    """A notifier's Kafka and database, and a saga log to write."""
    from tests.notifier_harness import deploy

    async with deploy(kafka_bootstrap, topic_prefix, database_url) as deployed:
        yield deployed
