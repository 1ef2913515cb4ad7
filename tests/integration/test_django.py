"""Django in gunicorn, its workers forked from a process that has loaded the application."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.web_contract import Web, WebContract
from tests.web_harness import GUNICORN, Deployment, Server, serving
from tests.web_load import lost_by_killing_workers, statuses_of
from tests.web_outage import go_through_an_outage

DJANGO = (*GUNICORN, "--workers", "2", "--preload", "tests.apps.web_django:application")


@pytest_asyncio.fixture(scope="module")
async def publishing(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    log = tmp_path_factory.mktemp("gunicorn") / "publish.log"
    async with serving(DJANGO, {**deployed.environment, "WEB_FORM": "publish"}, log) as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def handing_on(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    log = tmp_path_factory.mktemp("gunicorn") / "client.log"
    async with serving(DJANGO, {**deployed.environment, "WEB_FORM": "client"}, log) as server:
        yield server


class TestADjangoApplicationThatIsAnIngest(WebContract):
    @pytest.fixture
    def web(self, publishing: Server, deployed: Deployment) -> Web:
        return Web(publishing, deployed.log)


class TestADjangoApplicationThatHandsWebhooksOn(WebContract):
    @pytest.fixture
    def web(self, handing_on: Server, deployed: Deployment) -> Web:
        return Web(handing_on, deployed.log)


@pytest.mark.parametrize("requests", [50, pytest.param(1_000, marks=pytest.mark.long)])
async def test_every_202_of_many_concurrent_requests_reaches_its_final_status(
    publishing: Server, deployed: Deployment, requests: int
) -> None:
    assert await statuses_of(Web(publishing, deployed.log), requests) == {(202, "completed"): requests}


async def test_a_worker_that_is_killed_under_load_loses_nothing_that_got_its_202(
    publishing: Server, deployed: Deployment
) -> None:
    async def victim() -> int:
        return min(publishing.workers())

    assert await lost_by_killing_workers(Web(publishing, deployed.log), victim) == {}


@pytest.mark.long  # as Flask does in the default run
async def test_topics_that_are_not_made_yet_and_a_kafka_that_is_away_mean_503_and_then_need_no_restart(
    tmp_path: Path,
) -> None:
    django = (*GUNICORN, "--workers", "1", "tests.apps.web_django:application")
    await go_through_an_outage(django, tmp_path, WEB_FORM="publish")


def test_django_says_by_its_own_check_what_is_missing_in_the_settings() -> None:
    script = """
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(INSTALLED_APPS=["sagahook.integrations.django"])
django.setup()
call_command("check")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGAHOOK_")}
    told = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert "(sagahook.E001) SAGAHOOK_KAFKA" in told.stderr
