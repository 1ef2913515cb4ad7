"""Which service answers a request on the shared origin, and what the origin says of them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from sagahook.embedded.one_origin import OneOrigin
from sagahook.runtime.health import Health, Status
from sagahook.runtime.service import bind


class Origin:
    """Three apps that answer with their name to every request, behind one origin."""

    http: aiohttp.ClientSession

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.healths = {name: Health() for name in ("ingest", "tracker", "notifier")}
        self.app = OneOrigin(**{name: self._named(name) for name in self.healths})

    def _named(self, name: str) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            self.running.add(name)
            yield
            self.running.remove(name)

        app = FastAPI(lifespan=lifespan)
        app.state.health = self.healths[name]
        app.add_api_route("/{path:path}", lambda: name, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])
        return app

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(path) as answer:
            return answer.status, await answer.json()

    def says(self, name: str, check: str, status: Status) -> None:
        async def answer() -> Status:
            return status

        self.healths[name].add(check, answer)


@pytest_asyncio.fixture
async def origin() -> AsyncIterator[Origin]:
    """Served over HTTP, as its clients see it."""
    origin = Origin()
    server = uvicorn.Server(uvicorn.Config(origin.app, log_config=None, lifespan="on"))
    listening = bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listening.getsockname()[1]}") as origin.http:
        yield origin
    server.should_exit = True
    await serving
    assert origin.running == set()


@pytest.mark.parametrize(
    ("request_line", "owner"),
    [
        ("POST /webhooks/order_created", "ingest"),
        ("POST /webhooks/order_created/batch", "ingest"),
        ("OPTIONS /webhooks/order_created", "ingest"),
        ("POST /api/v1/webhooks/github", "ingest"),
        ("GET /webhooks/order_created/status/c-1", "tracker"),
        ("GET /webhooks/status/3f0c", "tracker"),
        ("GET /sagas/3f0c/diagram", "tracker"),
        ("GET /definitions/order/diagram", "tracker"),
        ("GET /api/v1/webhooks/events", "tracker"),
        ("POST /api/v1/webhooks/events/7/reprocess", "tracker"),
        ("POST /api/v1/sagas/3f0c:cancel", "tracker"),
        ("GET /api/v1/endpoints", "notifier"),
        ("POST /api/v1/endpoints/e-1:test", "notifier"),
        ("POST /api/v1/deliveries/d-1:resend", "notifier"),
    ],
)
async def test_each_path_of_the_contracts_reaches_its_service(
    origin: Origin, request_line: str, owner: str
) -> None:
    method, path = request_line.split()
    async with origin.http.request(method, path) as answer:
        assert await answer.json() == owner


async def test_every_services_lifespan_runs_while_the_origin_does(origin: Origin) -> None:
    await origin.get("/health")
    assert origin.running == {"ingest", "tracker", "notifier"}


async def test_the_origins_health_is_that_of_its_worst_service_and_names_each_check(origin: Origin) -> None:
    origin.says("ingest", "kafka", "healthy")
    origin.says("tracker", "postgresql", "degraded")

    status, body = await origin.get("/health")

    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"] == {"ingest.kafka": "healthy", "tracker.postgresql": "degraded"}


async def test_an_unhealthy_service_makes_the_origin_answer_503(origin: Origin) -> None:
    origin.says("notifier", "postgresql", "unhealthy")
    status, body = await origin.get("/health")
    assert (status, body["status"]) == (503, "unhealthy")


async def test_the_origin_is_ready_once_every_service_is(origin: Origin) -> None:
    origin.healths["ingest"].ready = origin.healths["tracker"].ready = True
    assert (await origin.get("/readyz"))[0] == 503
    origin.healths["notifier"].ready = True
    assert (await origin.get("/readyz"))[0] == 200
