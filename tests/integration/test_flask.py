"""Flask in gunicorn, its workers forked from a process that has loaded the application."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log
from tests.processes import halted, until
from tests.web_contract import Web, WebContract
from tests.web_harness import GUNICORN, Deployment, Server, serving, told
from tests.web_load import Senders, kill_workers, missing, statuses_of

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

    web = Web(flask, deployed.log)
    senders = Senders(web)
    sending = asyncio.create_task(senders.run())
    await kill_workers(senders, victim)
    senders.stopping.set()
    await sending
    assert await missing(web, senders.accepted) == {}


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
    kafka = EmbeddedKafka(tmp_path / "kafka", await prepare_kafka())
    try:
        await kafka.start()
        environment = told(
            kafka.bootstrap,
            "away",
            SAGAHOOK_PUBLISH_TIMEOUT="1",
            SAGAHOOK_SOURCES='{"parcels": {}}',
            SAGAHOOK_URL="http://127.0.0.1:9",
        )
        flask = (*GUNICORN, "--workers", "1", "tests.apps.web_flask:app")
        async with serving(flask, environment, tmp_path / "flask.log", ready=None) as server:
            await server.until("/whoami", 200)
            assert is_try_again(await server.post("/webhooks/parcels", {"parcel": "too soon"}))
            assert (await server.ask("GET", "/health")).status == 503
            await ensure_topics(kafka.bootstrap, "away", PARTITIONS)
            await until_accepted(server)
            assert (await server.ask("GET", "/health")).status == 200
            workers = server.workers()
            with halted(kafka.pid):
                assert is_try_again(await server.post("/webhooks/parcels", {"parcel": "late"}))
                assert is_try_again(await server.post("/send", {"parcel": "late too"}))
            last = await until_accepted(server)
            assert server.workers() == workers
            assert (await Log(kafka.bootstrap, "away").find(last.body["event_id"])).value
            nobody = await server.post("/client/webhooks/parcels", {"parcel": "to nobody"})
            assert is_try_again(nobody), "ingest is away"
    finally:
        await kafka.stop()


def is_try_again(answer: Answer) -> bool:
    return (
        answer.status == 503 and int(answer.headers["Retry-After"]) > 0 and answer.body["status_code"] == 503
    )


async def until_accepted(server: Server) -> Answer:
    async with asyncio.timeout(60):
        while (answer := await server.post("/webhooks/parcels", {"parcel": "again"})).status != 202:
            assert is_try_again(answer)
            await asyncio.sleep(0.1)
    return answer
