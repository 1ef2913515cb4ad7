"""`sagahook.client` against the API on real Kafka and PostgreSQL: the client that waits and the one that is awaited."""

import asyncio
import hashlib
import inspect
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sagahook.cli.openapi import documents
from sagahook.client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    NoKey,
    NotFinal,
    NotFound,
    Unreachable,
    WebhookAccepted,
)
from sagahook.client.operations import Operations
from sagahook_tracker.wiring import build_app
from tests.tracker_harness import Tracker, Wire, open_tracker_of_its_own, serving
from tests.tracker_log import SagaLog, received, routed

KEY, READER = "an admin's key", "a reader's key"
KEYS = {
    "admin": hashlib.sha256(KEY.encode()).hexdigest(),
    "reader": hashlib.sha256(READER.encode()).hexdigest(),
}


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs."""
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def url(tracker: Tracker) -> AsyncIterator[str]:
    async with serving(build_app(tracker.settings)) as url:
        yield url


Ask = Callable[..., Awaitable[Any]]
"""A method of either client by its name, with its arguments."""


@pytest_asyncio.fixture(params=["waits", "is awaited"])
async def ask(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Ask]:
    if request.param == "waits":
        with Client(url, KEY) as client:

            async def by_thread(name: str, *args: Any, **kwargs: Any) -> Any:
                return await asyncio.to_thread(getattr(client, name), *args, **kwargs)

            yield by_thread
    else:
        async with AsyncClient(url, KEY) as awaited:

            async def by_await(name: str, *args: Any, **kwargs: Any) -> Any:
                return await getattr(awaited, name)(*args, **kwargs)

            yield by_await


class Ids:
    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        self.event, self.cid, self.saga = f"e-{unique}", f"c-{unique}", f"s-{unique}"

    def records(self) -> list[Any]:
        return [received(self.event, self.cid), routed(self.event, self.cid, self.saga)]


@pytest.fixture
def ids() -> Ids:
    return Ids()


async def test_a_webhook_is_followed_to_its_end(tracker: Tracker, ask: Ask, ids: Ids) -> None:
    log = SagaLog(ids.saga).started(ids.event, ids.cid)
    await tracker.log.write([*ids.records(), *log.written])
    await tracker.until_caught_up()
    begun = len(log.written)
    waiting = asyncio.ensure_future(ask("wait_until_final", "shop", ids.cid, timeout=20))
    await tracker.log.write(log.done("reserve").completed().written[begun:])
    status = await waiting
    assert (status.status, status.saga_ids, status.final) == ("completed", [ids.saga], True)
    saga = await ask("wait_for_saga", ids.saga)
    assert (saga.state, saga.completed_steps) == ("COMPLETED", ["reserve"])


async def test_a_wait_that_is_over_says_how_it_stands(tracker: Tracker, ask: Ask, ids: Ids) -> None:
    await tracker.log.write(ids.records())
    await tracker.until_caught_up()
    with pytest.raises(NotFinal) as up:
        await ask("wait_until_final", "shop", ids.cid, timeout=0.1)
    assert up.value.last.status == "processing"


async def test_operators_act_and_are_told_why_not(tracker: Tracker, ask: Ask, ids: Ids) -> None:
    log = SagaLog(ids.saga).started(ids.event, ids.cid)
    await tracker.log.write([*ids.records(), *log.written])
    await tracker.until_caught_up()
    accepted = await ask("cancel_saga", ids.saga, actor="ada", reason="no longer wanted")
    assert accepted.saga_id == ids.saga
    with pytest.raises(Conflict, match="EXECUTING"):
        await ask("retry_saga", ids.saga, actor="ada")
    with pytest.raises(NotFound, match="check the id"):
        await ask("cancel_saga", "unheard-of", actor="ada")


async def test_lists_are_walked_page_by_page(tracker: Tracker, url: str) -> None:
    name = f"walk-{uuid.uuid4().hex[:8]}"
    logs = [SagaLog(f"{name}-{number}").started_with(name=name) for number in range(5)]
    await tracker.log.write([record for log in logs for record in log.written])
    await tracker.until_caught_up()
    ids = {log.saga_id for log in logs}
    async with AsyncClient(url, KEY) as awaited:
        found = [saga.saga_id async for saga in awaited.iter_sagas(name=name, limit=2)]
        assert sorted(found) == sorted(ids)
        assert {task.task_id async for task in awaited.iter_tasks(task_type=name, limit=2)} == ids
    with Client(url, KEY) as client:
        walked = await asyncio.to_thread(lambda: list(client.iter_tasks(task_type=name, limit=2)))
    assert {task.task_id for task in walked} == ids


async def test_the_stream_goes_on_where_a_lost_connection_ended(tracker: Tracker, url: str, ids: Ids) -> None:
    log = SagaLog(ids.saga).started(ids.event, ids.cid)
    await tracker.log.write([*ids.records(), *log.written])
    await tracker.until_caught_up()
    wire = Wire(url)
    await wire.mend()
    async with AsyncClient(wire.url, READER) as client:
        begin = (await client.list_recent_events()).stream_position
        stream = client.stream(after=begin, task_id=ids.saga)
        coming = asyncio.ensure_future(anext(stream))
        begun = len(log.written)
        await tracker.log.write(log.done("reserve").written[begun:])
        async with asyncio.timeout(20):
            first = await coming
            await wire.cut()
            begun = len(log.written)
            await tracker.log.write(log.completed().written[begun:])
            await wire.mend()
            seen = [first]
            async for entry in stream:
                seen.append(entry)
                if entry.status == "completed":
                    break
    await wire.cut()
    numbers = [entry.id for entry in seen]
    assert numbers == sorted(set(numbers))
    assert {entry.task_id for entry in seen} == {ids.saga}

    def waits() -> Any:
        with Client(url, READER) as client:
            return next(client.stream(after=begin, task_id=ids.saga))

    assert (await asyncio.to_thread(waits)).id == first.id


async def test_keys_that_will_not_do_are_errors_of_their_own(url: str) -> None:
    async with AsyncClient(url) as nobody, AsyncClient(url, READER) as reader:
        with pytest.raises(NoKey):
            await nobody.list_tasks()
        with pytest.raises(Forbidden):
            await reader.list_audit()


async def test_who_acted_and_who_was_refused_is_asked_by_an_admin(
    tracker: Tracker, url: str, ids: Ids
) -> None:
    log = SagaLog(ids.saga).started(ids.event, ids.cid)
    await tracker.log.write([*ids.records(), *log.written])
    await tracker.until_caught_up()
    async with AsyncClient(url, READER) as reader, AsyncClient(url, KEY) as admin:
        with pytest.raises(Forbidden):
            await reader.cancel_saga(ids.saga, actor="eve")
        await admin.cancel_saga(ids.saga, actor="ada", reason="no longer wanted")
        async with asyncio.timeout(20):
            while not (done := [entry async for entry in admin.iter_audit(target=ids.saga, limit=1)]):
                await asyncio.sleep(0.05)
            path = f"/api/v1/sagas/{ids.saga}:cancel"
            while not (refused := (await admin.list_audit(target=path)).entries):
                await asyncio.sleep(0.05)
        assert (await admin.list_audit(actor="nobody")).entries == []
    assert [(each.action, each.outcome, each.actor, each.reason) for each in done] == [
        ("cancel_saga", "done", "admin", "ada: no longer wanted")
    ]
    assert [(each.action, each.outcome, each.actor, each.client) for each in refused] == [
        ("cancel_saga", "refused", "reader", "127.0.0.1")
    ]


async def test_where_nothing_answers_it_says_so() -> None:
    async with AsyncClient("http://127.0.0.1:9", patience=0) as client:
        with pytest.raises(Unreachable, match="does not answer"):
            await client.list_tasks()
    with (
        Client("http://127.0.0.1:9", patience=0) as waits,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        waits.list_tasks()


def test_every_operation_of_the_document_is_a_method() -> None:
    document = documents()["tracker"]
    ids = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
        if "security" in operation
    }
    methods = {name for name in vars(Operations) if not name.startswith("_")}
    assert methods | {"stream_events"} == set(ids)
    parameters = set(inspect.signature(Client.stream).parameters) - {"self"}
    documented = {each["name"] for each in ids["stream_events"]["parameters"] if each["in"] == "query"}
    assert parameters == documented


def test_what_ingest_answers_is_what_the_client_reads() -> None:
    document = documents()["ingest"]
    fields = set(document["components"]["schemas"]["WebhookAccepted"]["properties"])
    assert set(WebhookAccepted.model_fields) <= fields


async def test_the_page_about_the_client_tells_the_truth(tracker: Tracker, url: str, ids: Ids) -> None:
    """Every block of it runs, on a saga that failed and a webhook that led to it."""
    log = SagaLog(ids.saga).started(ids.event, ids.cid).declined()
    await tracker.log.write([*ids.records(), *log.written])
    await tracker.until_caught_up()
    page = (Path(__file__).parents[2] / "docs" / "reference" / "client.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 4
    told = {"URL": url, "KEY": KEY, "SOURCE": "shop", "CORRELATION_ID": ids.cid, "SAGA_ID": ids.saga}

    def run(block: str) -> None:
        exec(compile(block, "client.md", "exec"), dict(told))  # noqa: S102  # our own page

    for block in blocks:
        await asyncio.to_thread(run, block)
