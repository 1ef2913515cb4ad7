"""A real Prometheus scrapes a stack that works: every alert and every panel has what it asks for, or a documented
empty."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiokafka import AIOKafkaProducer
from orjson import dumps

from deploy.monitoring.boards import DASHBOARDS
from deploy.monitoring.prometheus import program
from deploy.monitoring.rules import ALERTS, alerts, metrics_of
from sagahook.cli.metrics_reference import EMPTY
from sagahook.embedded.ports import free_port
from sagahook.embedded.stack import Stack
from sagahook_schemas.topics import SAGA_COMMANDS
from tests.orders_world import orders_stack, receiver, shop

pytestmark = pytest.mark.long

SECRET = "whsec_" + "c2FnYWhvb2stZTJlLXNlY3JldC0wMDAwMDE="
JOBS = {
    "api": "sagahook-api",
    "runner-0": "sagahook-runner",
    "tracker": "sagahook-tracker",
    "notifier": "sagahook-notifier",
}
"""Of the stack's processes. The first holds ingest and the APIs."""

_SELECTORS = re.compile(r"\b[a-z][\w:]*(?:\{[^}]*\})?")


@dataclass
class Prometheus:
    url: str
    session: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
            assert told["status"] == "success", told
            return told["data"]

    async def query(self, expr: str) -> list[Any]:
        found: list[Any] = (await self.ask("query", query=expr))["result"]
        return found

    async def until(self, expr: str) -> None:
        try:
            async with asyncio.timeout(60):
                while not await self.query(expr):
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError(f"after a minute still nothing is {expr}") from None

    async def firing(self) -> dict[str, Any]:
        """Annotations by alert."""
        found = (await self.ask("alerts"))["alerts"]
        return {
            each["labels"]["alertname"]: each["annotations"] for each in found if each["state"] == "firing"
        }


@dataclass
class World:
    stack: Stack
    session: aiohttp.ClientSession
    prometheus: Prometheus

    async def post(self, body: object) -> int:
        url = f"{self.stack.description()['api']}/webhooks/order_created"
        async with self.session.post(url, json=body) as answer:
            return answer.status


@asynccontextmanager
async def running(
    folder: Path, scraped: dict[str, str], session: aiohttp.ClientSession
) -> AsyncIterator[Prometheus]:
    port = free_port()
    configuration = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": JOBS[name], "static_configs": [{"targets": [address]}]}
            for name, address in scraped.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}", session)
        async with asyncio.timeout(30):
            while not await _answers(prometheus):
                await asyncio.sleep(0.2)
        yield prometheus
    finally:
        process.terminate()
        await process.wait()


async def _answers(prometheus: Prometheus) -> bool:
    try:
        async with prometheus.session.get(f"{prometheus.url}/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Orders that succeed and that are declined, a webhook that is refused, and all of it scraped."""
    folder = tmp_path_factory.mktemp("prometheus")
    scraped: dict[str, str] = {}
    async with shop(folder) as shop_url, receiver(SECRET) as receiver_url, aiohttp.ClientSession() as session:
        endpoint = {"id": "e2e", "url": f"{receiver_url}/hooks", "secret": SECRET}
        async with (
            orders_stack(folder, shop_url, scraped, SAGAHOOK_ENDPOINTS=dumps([endpoint]).decode()) as stack,
            running(folder, scraped, session) as prometheus,
        ):
            world = World(stack, session, prometheus)
            for number in range(20):
                assert (
                    await world.post({"order_id": f"o-{number}", "amount": 42 if number % 4 else 5000}) == 202
                )
            assert await world.post({"amount": 1}) == 400
            await prometheus.until('sum(workflow_tasks_total{state="COMPLETED"}) == 15')
            await prometheus.until("sum(sagahook_notifier_attempts_total) >= 40")
            for number in range(20, 30):  # what is to have a rate must have changed while it was looked at
                assert (
                    await world.post({"order_id": f"o-{number}", "amount": 42 if number % 4 else 5000}) == 202
                )
            await prometheus.until('sum(workflow_tasks_total{state="COMPLETED"}) == 22')
            yield world


async def test_every_process_is_scraped_and_no_alert_fires_where_all_is_well(world: World) -> None:
    await world.prometheus.until(f"count(up == 1) == {len(JOBS)}")
    assert await world.prometheus.firing() == {}
    groups = (await world.prometheus.ask("rules"))["groups"]
    evaluated = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert evaluated == {alert.name: "ok" for alert in alerts()}


async def test_every_alert_looks_at_something_that_is_there_or_at_a_documented_empty(world: World) -> None:
    for alert in alerts():
        for selector in _SELECTORS.findall(alert.expr):
            [metric] = metrics_of(selector) or [""]
            if metric in metrics_of(alert.expr) and metric not in EMPTY:
                assert await world.prometheus.query(selector), f"{alert.name}: nothing is {selector}"


async def test_every_panel_shows_something_or_a_documented_empty(world: World) -> None:
    for dashboard in DASHBOARDS:
        for query in dashboard.queries:
            # "> 0" leaves out what is well.
            expr = re.sub(r"\$\w+(?=\")", ".*", query.expr.replace("$__rate_interval", "1m")).removesuffix(
                " > 0"
            )
            if metrics_of(expr) & (EMPTY.keys() | {"ALERTS"}):
                await world.prometheus.query(expr)
            else:
                await world.prometheus.until(expr)  # a rate needs two scrapes


async def test_an_alert_that_fires_tells_which_and_what_to_do(world: World) -> None:
    told = world.stack.description()
    async with AIOKafkaProducer(bootstrap_servers=told["kafka"]) as producer:
        await producer.send_and_wait(SAGA_COMMANDS.dead_letters.name("sagahook"), b"{}", partition=0)
    headers = {"Authorization": f"Bearer {told['keys']['reader']}"}
    async with world.session.get(f"{told['api']}/api/v1/stuck", headers=headers) as looked:
        assert looked.status == 200
    await world.prometheus.until('ALERTS{alertname="SagahookDeadLettersGrowing",alertstate="firing"}')
    annotations = (await world.prometheus.firing())["SagahookDeadLettersGrowing"]
    assert annotations["summary"] == "There are new dead letters of saga.commands, 1 now"
    assert "`sagahook dlq show saga.commands.dlq`" in annotations["description"]
