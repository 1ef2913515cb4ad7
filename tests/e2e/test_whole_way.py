"""The whole way on one stack: webhook → Kafka → saga → status → outbound webhook, and what may stand in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from orjson import dumps
from prometheus_client.parser import text_string_to_metric_families

from sagahook.cli.metrics_reference import EMPTY, declared
from sagahook.embedded.stack import Stack
from sagahook_schemas.topics import WEBHOOKS_RECEIVED
from tests.orders_world import orders_stack, receiver, shop, started_anew
from tests.processes import halted

SECRET = "whsec_" + "c2FnYWhvb2stZTJlLXNlY3JldC0wMDAwMDE="


@dataclass
class World:
    stack: Stack
    shop: str
    receiver: str
    session: aiohttp.ClientSession
    scraped: dict[str, str]

    @property
    def api(self) -> str:
        return str(self.stack.description()["api"])

    async def post(self, body: object, source: str = "order_created", **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else dumps(body)
        async with self.session.post(
            f"{self.api}/webhooks/{source}",
            data=data,
            headers={"Content-Type": "application/json", **headers},
        ) as answer:
            return answer.status, await answer.json()

    async def status(self, correlation_id: str, wait: int = 30) -> tuple[int, Any]:
        url = f"{self.api}/webhooks/order_created/status/{correlation_id}?wait={wait}"
        async with self.session.get(url) as answer:
            return answer.status, await answer.json()

    async def json(self, url: str) -> Any:
        async with self.session.get(url) as answer:
            return await answer.json()

    @contextmanager
    def stopped(self, part: str) -> Any:
        """The part's processes stand still."""
        with halted(*self.stack.description()["pids"][part]):
            yield

    async def received_webhooks(self) -> int:
        """How many webhooks the log holds."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.description()["kafka"])
        await consumer.start()
        try:
            topic = WEBHOOKS_RECEIVED.name("sagahook")
            ends = await consumer.end_offsets([TopicPartition(topic, partition) for partition in range(4)])
            return sum(ends.values())
        finally:
            await consumer.stop()


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("e2e")
    async with shop(folder) as shop_url, receiver(SECRET) as receiver_url:
        endpoint = {"id": "e2e", "url": f"{receiver_url}/hooks", "secret": SECRET}
        environment = {"SAGAHOOK_ENDPOINTS": dumps([endpoint]).decode(), "SAGAHOOK_PUBLISH_TIMEOUT": "2"}
        scraped: dict[str, str] = {}
        async with (
            orders_stack(folder, shop_url, scraped, **environment) as stack,
            aiohttp.ClientSession() as session,
        ):
            yield World(stack, shop_url, receiver_url, session, scraped)


async def test_an_order_is_carried_through_and_reported(world: World) -> None:
    code, accepted = await world.post({"order_id": "e2e-1", "amount": 42, "user_id": "u7"})
    assert code == 202
    assert accepted == {
        "status": "accepted",
        "source": "order_created",
        "message": "Event queued for processing",
        "correlation_id": accepted["correlation_id"],
        "event_id": accepted["event_id"],
    }
    code, status = await world.status(accepted["correlation_id"])
    assert (code, status["status"], status["final"]) == (200, "completed", True)
    assert status["message"] == "All 1 saga(s) completed successfully"
    [saga_id] = status["saga_ids"]
    assert status["saga_statuses"] == {saga_id: "completed"}
    assert [step["name"] for step in status["sagas"][0]["steps"]] == [
        "reserve_inventory",
        "charge_payment",
        "ship",
    ]
    saga = await world.json(f"{world.api}/webhooks/status/{saga_id}")
    assert saga["state"] == "COMPLETED"
    assert saga["completed_steps"] == ["reserve_inventory", "charge_payment", "ship"]
    assert (saga["user_id"], saga["failed_step"], saga["error"]) == ("u7", None, None)
    async with asyncio.timeout(20):
        while not (told := await _told_about(world, saga_id, "task_completed")):
            await asyncio.sleep(0.05)
    assert [webhook["verified"] for webhook in told] == [True]


async def test_a_declined_order_is_undone_and_reported_with_its_error(world: World) -> None:
    _, accepted = await world.post({"order_id": "e2e-2", "amount": 5000})
    _, status = await world.status(accepted["correlation_id"])
    [saga_id] = status["saga_ids"]
    assert (status["status"], status["saga_statuses"][saga_id]) == ("failed", "failed")
    assert "declined: 5000 is over the limit" in status["saga_errors"][saga_id]
    saga = await world.json(f"{world.api}/webhooks/status/{saga_id}")
    assert (saga["state"], saga["failed_step"]) == ("ROLLED_BACK", "charge_payment")
    ledger = await world.json(f"{world.shop}/ledger")
    done = [
        entry["operation"] for entry in ledger["entries"] if entry["order_id"] == "e2e-2" and entry["applied"]
    ]
    assert done == ["inventory/reserve", "inventory/release"]
    async with asyncio.timeout(20):
        while not await _told_about(world, saga_id, "task_failed"):
            await asyncio.sleep(0.05)


async def test_a_duplicate_shows_the_same_saga_under_its_own_correlation_id(world: World) -> None:
    _, first = await world.post({"order_id": "e2e-3", "amount": 1})
    _, second = await world.post({"order_id": "e2e-3", "amount": 1}, **{"X-Correlation-ID": "my-own-id"})
    assert second["correlation_id"] == "my-own-id"
    (_, one), (_, other) = await asyncio.gather(
        world.status(first["correlation_id"]), world.status("my-own-id")
    )
    assert one["saga_ids"] == other["saga_ids"]
    assert one["status"] == other["status"] == "completed"
    ledger = await world.json(f"{world.shop}/ledger")
    entries = [entry for entry in ledger["entries"] if entry["order_id"] == "e2e-3"]
    assert [entry["requests"] for entry in entries] == [1, 1, 1]


@pytest.mark.parametrize(
    ("source", "body", "code", "says"),
    [
        ("order_created", b'{"order_id": ', 400, "JSON"),
        ("order_created", b"[1, 2]", 400, "order_id"),
        ("order_created", b"{}", 400, "order_id"),
        ("order_created", b'{"order_id": null}', 400, "order_id"),
        ("order_created", b'"' + b"x" * 20_000_000 + b'"', 413, "bytes"),
        ("nobody", b"{}", 404, "nobody"),
    ],
    ids=["malformed", "a list", "no field", "null field", "20 MB", "unknown source"],
)
async def test_bad_input_is_refused_in_the_documented_words_and_writes_nothing(
    world: World, source: str, body: bytes, code: int, says: str
) -> None:
    before = await world.received_webhooks()
    answered, error = await world.post(body, source)
    assert answered == code
    assert error.keys() == {"error", "status_code", "path", "correlation_id"}
    assert (error["status_code"], error["path"]) == (code, f"/webhooks/{source}")
    assert says in error["error"]
    assert await world.received_webhooks() == before


async def test_an_unknown_correlation_id_is_not_found(world: World) -> None:
    code, error = await world.status("never-seen", wait=0)
    assert (code, error["status_code"]) == (404, 404)


async def test_every_documented_metric_has_samples_on_a_stack_that_works(world: World) -> None:
    _, accepted = await world.post({"order_id": "e2e-metrics", "amount": 42})
    await world.status(accepted["correlation_id"])
    documented = {
        series
        for section in declared().values()
        for family in section
        for series in family.samples
        if family.name not in EMPTY
    }
    async with asyncio.timeout(40):
        while documented - await _scraped(world):
            await asyncio.sleep(0.2)


async def _scraped(world: World) -> set[str]:
    """The names of all series that there are."""
    names = set()
    for address in world.scraped.values():
        async with world.session.get(f"http://{address}/metrics") as answer:
            for family in text_string_to_metric_families(await answer.text()):
                names |= {sample.name for sample in family.samples}
    return names


async def test_webhooks_are_accepted_while_postgresql_is_away_and_told_of_when_it_is_back(
    world: World,
) -> None:
    with world.stopped("postgres"):
        code, accepted = await world.post({"order_id": "e2e-4", "amount": 1})
        assert code == 202
    code, status = await world.status(accepted["correlation_id"])
    assert (code, status["status"]) == (200, "completed")


async def test_a_kafka_that_stands_still_means_503_and_a_kafka_that_is_back_needs_no_restart(
    world: World,
) -> None:
    pids = world.stack.description()["pids"]
    with world.stopped("kafka"):
        async with world.session.post(
            f"{world.api}/webhooks/order_created", json={"order_id": "e2e-5"}
        ) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "Kafka" in (await answer.json())["error"]
    async with asyncio.timeout(60):
        while (accepted := await world.post({"order_id": "e2e-6", "amount": 1}))[0] != 202:
            await asyncio.sleep(0.2)
        while (await world.status(accepted[1]["correlation_id"]))[1].get("status") != "completed":
            await asyncio.sleep(0.2)
    assert world.stack.description()["pids"] == pids


async def test_statuses_are_what_they_were_after_a_restart_of_everything(world: World) -> None:
    sent = [
        (await world.post({"order_id": f"e2e-7-{amount}", "amount": amount}))[1]["correlation_id"]
        for amount in (1, 5000, 2)
    ]
    before = [(await world.status(correlation_id))[1] for correlation_id in sent[:2]]
    assert [status["status"] for status in before] == ["completed", "failed"]
    async with started_anew(world.stack) as stack:
        again = replace(world, stack=stack)
        after = [await again.status(correlation_id) for correlation_id in sent]
    assert [code for code, _ in after] == [200, 200, 200]
    assert [status for _, status in after[:2]] == before
    assert after[2][1]["status"] == "completed"


async def _told_about(world: World, saga_id: str, kind: str) -> list[dict[str, Any]]:
    """The outbound webhooks of one kind about one saga."""
    return [
        webhook
        for webhook in await world.json(f"{world.receiver}/received")
        if webhook["event"]["type"] == kind and webhook["event"]["data"]["task_id"] == saga_id
    ]
