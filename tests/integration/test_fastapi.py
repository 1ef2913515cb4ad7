"""FastAPI in uvicorn, with two workers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.web_contract import Web, WebContract
from tests.web_harness import Deployment, Server, serving
from tests.web_load import Senders, kill_workers, missing

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


async def test_a_worker_that_is_killed_under_load_loses_nothing_that_got_its_202(
    fastapi: Server, deployed: Deployment
) -> None:
    web = Web(fastapi, deployed.log)

    async def victim() -> int:
        pid: int = (await web.get("/whoami")).body["pid"]
        return pid

    senders = Senders(web)
    sending = asyncio.create_task(senders.run())
    await kill_workers(senders, victim)
    senders.stopping.set()
    await sending
    assert await missing(web, senders.accepted) == {}


async def test_its_routes_are_in_the_applications_openapi_document(
    fastapi: Server, deployed: Deployment
) -> None:
    document = (await Web(fastapi, deployed.log).get("/openapi.json")).body
    post = document["paths"]["/webhooks/{source}"]["post"]
    assert {"202", "401", "503"} <= post["responses"].keys()
    assert "WebhookStatus" in document["components"]["schemas"]
