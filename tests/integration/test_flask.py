"""Flask in gunicorn, its workers forked from a process that has loaded the application."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.processes import until
from tests.web_contract import Web, WebContract
from tests.web_harness import GUNICORN, Deployment, Server, serving
from tests.web_load import Senders, lost_by_killing_workers, missing, statuses_of
from tests.web_outage import go_through_an_outage

FLASK = (*GUNICORN, "--workers", "2", "--preload", "tests.apps.web_flask:app")


@pytest_asyncio.fixture(scope="module")
async def flask(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    log = tmp_path_factory.mktemp("gunicorn") / "flask.log"
    async with serving(FLASK, deployed.environment, log) as server:
        yield server


class TestAFlaskApplicationThatIsAnIngest(WebContract):
    @pytest.fixture
    def web(self, flask: Server, deployed: Deployment) -> Web:
        return Web(flask, deployed.log)


class TestAFlaskApplicationThatHandsWebhooksOn(WebContract):
    @pytest.fixture
    def web(self, flask: Server, deployed: Deployment) -> Web:
        return Web(flask, deployed.log, prefix="/client")


@pytest.mark.parametrize("requests", [200, pytest.param(1_000, marks=pytest.mark.long)])
async def test_every_202_of_many_concurrent_requests_reaches_its_final_status(
    flask: Server, deployed: Deployment, requests: int
) -> None:
    assert await statuses_of(Web(flask, deployed.log), requests) == {(202, "completed"): requests}


async def test_a_worker_that_is_killed_under_load_loses_nothing_that_got_its_202(
    flask: Server, deployed: Deployment
) -> None:
    async def victim() -> int:
        return min(flask.workers())

    assert await lost_by_killing_workers(Web(flask, deployed.log), victim) == {}


async def test_a_worker_that_is_told_to_end_answers_what_it_took(flask: Server, deployed: Deployment) -> None:
    web = Web(flask, deployed.log)
    senders = Senders(web)
    sending = asyncio.create_task(senders.run())
    await senders.until_accepted(50)
    before = set(flask.workers())
    assert flask.process is not None
    flask.process.send_signal(signal.SIGHUP)  # gunicorn replaces its workers, as for a deploy
    await until(lambda: not before & set(flask.workers()))
    await senders.until_accepted(50)
    senders.stopping.set()
    await sending
    assert await missing(web, senders.accepted) == {}


async def test_topics_that_are_not_made_yet_and_a_kafka_that_is_away_mean_503_and_then_need_no_restart(
    tmp_path: Path,
) -> None:
    flask = (*GUNICORN, "--workers", "1", "tests.apps.web_flask:app")
    await go_through_an_outage(flask, tmp_path, handing_on="/client")
