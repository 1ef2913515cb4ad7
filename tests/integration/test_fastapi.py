"""FastAPI in uvicorn, with two workers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.web_contract import Web, WebContract
from tests.web_harness import Deployment, Server, serving
from tests.web_load import lost_by_killing_workers, statuses_of
from tests.web_outage import go_through_an_outage

UVICORN = ("uvicorn", "--port", "{port}", "--workers", "2", "tests.apps.web_fastapi:app")


@pytest_asyncio.fixture(scope="module")
async def fastapi(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    log = tmp_path_factory.mktemp("uvicorn") / "fastapi.log"
    async with serving(UVICORN, deployed.environment, log) as server:
        yield server


class TestAFastAPIApplicationThatIsAnIngest(WebContract):
    @pytest.fixture
    def web(self, fastapi: Server, deployed: Deployment) -> Web:
        return Web(fastapi, deployed.log)


class TestAFastAPIApplicationThatHandsWebhooksOn(WebContract):
    @pytest.fixture
    def web(self, fastapi: Server, deployed: Deployment) -> Web:
        return Web(fastapi, deployed.log, prefix="/client")


@pytest.mark.parametrize("requests", [50, pytest.param(1_000, marks=pytest.mark.long)])
async def test_every_202_of_many_concurrent_requests_reaches_its_final_status(
    fastapi: Server, deployed: Deployment, requests: int
) -> None:
    assert await statuses_of(Web(fastapi, deployed.log), requests) == {(202, "completed"): requests}


async def test_a_worker_that_is_killed_under_load_loses_nothing_that_got_its_202(
    fastapi: Server, deployed: Deployment
) -> None:
    web = Web(fastapi, deployed.log)

    async def victim() -> int:
        pid: int = (await web.get("/whoami")).body["pid"]
        return pid

    assert await lost_by_killing_workers(web, victim) == {}


@pytest.mark.long  # as Flask does in the default run
async def test_topics_that_are_not_made_yet_and_a_kafka_that_is_away_mean_503_and_then_need_no_restart(
    tmp_path: Path,
) -> None:
    fastapi = ("uvicorn", "--port", "{port}", "tests.apps.web_fastapi:app")
    await go_through_an_outage(fastapi, tmp_path, handing_on="/client")


async def test_its_routes_are_in_the_applications_openapi_document(
    fastapi: Server, deployed: Deployment
) -> None:
    document = (await Web(fastapi, deployed.log).get("/openapi.json")).body
    post = document["paths"]["/webhooks/{source}"]["post"]
    assert {"202", "401", "503"} <= post["responses"].keys()
    assert "WebhookStatus" in document["components"]["schemas"]
