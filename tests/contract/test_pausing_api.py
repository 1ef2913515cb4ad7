"""Pausing and resuming definitions and sources, over HTTP, on real Kafka and PostgreSQL."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from sagahook_schemas.codec import decode
from sagahook_schemas.definitions import ControlSet, Retry, SagaDefinition, StepDefinition, TriggerDefinition
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_DEFINITIONS
from tests.tracker_harness import PARTITIONS, Api, Tracker, open_tracker, open_tracker_of_its_own
from tests.tracker_log import T0, controlled, deployed

OPERATOR, READER = "an operator's key", "a reader's key"
KEYS = {
    "operator": hashlib.sha256(OPERATOR.encode()).hexdigest(),
    "reader": hashlib.sha256(READER.encode()).hexdigest(),
}
BY = {"actor": "ada", "reason": "the bank is away"}
STEP = StepDefinition(name="charge", timeout=10, retry=Retry())
UNTOUCHED = {"paused": False, "actor": None, "reason": None, "set_at": None}


def saga(name: str, version: int, *sources: str) -> SagaDefinition:
    triggers = tuple(TriggerDefinition(source=source) for source in sources)
    return SagaDefinition(name=name, version=version, triggers=triggers, steps=(STEP,))


@asynccontextmanager
async def deployed_twice(tracker: Tracker) -> AsyncIterator[Tracker]:
    """`order` is deployed in two versions, and the second one wants other sources."""
    async with tracker.projecting():
        versions = [saga("order", 1, "till"), saga("order", 2, "shop", "phone"), saga("refund", 1, "shop")]
        await tracker.log.write([deployed(each) for each in versions])
        await tracker.until_caught_up()
        yield tracker


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with (
        open_tracker(kafka_bootstrap, topic_prefix, database_url, api_keys=KEYS) as tracker,
        deployed_twice(tracker),
    ):
        yield tracker


@pytest_asyncio.fixture
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    async with tracker.api(OPERATOR) as api:
        yield api


@pytest_asyncio.fixture(scope="module")
async def untouched(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """For all tests in which nothing is paused."""
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        deployed_twice(tracker),
    ):
        yield tracker
        assert await told(tracker) == []


@pytest_asyncio.fixture
async def untouched_api(untouched: Tracker) -> AsyncIterator[Api]:
    async with untouched.api(OPERATOR) as api:
        yield api


async def told(tracker: Tracker) -> list[ControlSet]:
    """What operators wrote, in the order of its partition."""
    decoded = [decode(each.headers, each.value)[1] for each in await tracker.commands(SAGA_DEFINITIONS)]
    return [each for each in decoded if isinstance(each, ControlSet)]


async def test_what_is_deployed_is_listed_with_its_sources(untouched_api: Api) -> None:
    code, body, _ = await untouched_api.get("/api/v1/definitions")
    assert code == 200
    at = T0.isoformat().replace("+00:00", "Z")
    assert body == {
        "definitions": [
            {
                "name": "order",
                "versions": [1, 2],
                "deployed_at": at,
                "sources": ["shop", "phone"],
                **UNTOUCHED,
            },
            {"name": "refund", "versions": [1], "deployed_at": at, "sources": ["shop"], **UNTOUCHED},
        ]
    }
    _, body, _ = await untouched_api.get("/api/v1/sources")
    assert body == {
        "sources": [
            {"source": "phone", "definitions": ["order"], **UNTOUCHED},
            {"source": "shop", "definitions": ["order", "refund"], **UNTOUCHED},
        ]
    }


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [("definitions/order", "definition", "order"), ("sources/shop", "source", "shop")],
)
async def test_a_pause_is_in_the_log_when_it_is_accepted_and_is_seen_at_once(
    tracker: Tracker, api: Api, path: str, kind: str, name: str
) -> None:
    listing = path.partition("/")[0]
    for act, paused in (("pause", True), ("resume", False)):
        code, body, _ = await api.post(f"/api/v1/{path}:{act}", BY)
        assert code == 202
        command_id = body.pop("command_id").encode()
        records = await tracker.commands(SAGA_DEFINITIONS)
        [record] = [each for each in records if dict(each.headers)["ce_id"] == command_id]
        assert body == {"kind": kind, "name": name, "paused": paused}
        assert record.key == f"control/{kind}/{name}".encode()
        assert record.partition == partition_of(f"control/{kind}/{name}", PARTITIONS)
        envelope, data = decode(record.headers, record.value)
        assert (envelope.source, envelope.type) == ("/sagahook/tracker", "sagahook.control.set.v1")
        assert data.model_dump(exclude={"at"}) == {"kind": kind, "name": name, "paused": paused, **BY}

        _, listed, _ = await api.get(f"/api/v1/{listing}")
        [seen] = [each for each in listed[listing] if name in (each.get("name"), each.get("source"))]
        assert (seen["paused"], seen["actor"], seen["reason"]) == (paused, *BY.values())


async def test_what_was_paused_once_can_be_resumed_though_nothing_of_it_is_deployed(
    tracker: Tracker, api: Api
) -> None:
    await tracker.log.write([controlled("definition", "gone", True), controlled("source", "gone", True)])
    await tracker.until_caught_up()
    for path in ("definitions/gone", "sources/gone"):
        assert (await api.post(f"/api/v1/{path}:resume", BY))[0] == 202


@pytest.mark.parametrize(
    "path", ["definitions/nothing", "sources/nothing", "definitions/shop", "sources/order"]
)
async def test_what_nothing_is_known_of_is_404_and_writes_nothing(
    untouched: Tracker, untouched_api: Api, path: str
) -> None:
    code, body, _ = await untouched_api.post(f"/api/v1/{path}:pause", BY)
    assert (code, body.keys()) == (404, {"error", "status_code", "path", "correlation_id"})
    assert await told(untouched) == []


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("definitions/order:pause", {}, "body.actor"),
        ("definitions/order:pause", {"actor": "ada", "why": "?"}, "body.why"),
        ("definitions/or%0Ader:pause", BY, "path.name"),
        ("sources/shop:stop", BY, "path.what"),
    ],
)
async def test_a_malformed_request_is_400_and_names_what(
    untouched_api: Api, path: str, body: Any, named: str
) -> None:
    code, answer, _ = await untouched_api.post(f"/api/v1/{path}", body)
    assert (code, answer["error"].partition(":")[0]) == (400, named)


async def test_a_reader_may_look_and_not_pause(untouched: Tracker) -> None:
    async with untouched.api() as api:
        reader = {"Authorization": f"Bearer {READER}"}
        for path in ("/api/v1/definitions", "/api/v1/sources"):
            assert (await api.get(path, headers=reader))[0] == 200
            assert (await api.get(path))[0] == 401
        for path in ("definitions/order:pause", "sources/shop:resume"):
            assert (await api.post(f"/api/v1/{path}", BY, headers=reader))[0] == 403
            assert (await api.post(f"/api/v1/{path}", BY))[0] == 401
    assert await told(untouched) == []


async def test_every_act_and_every_refusal_is_told_to_the_auditor(api: Api) -> None:
    import structlog

    with structlog.testing.capture_logs() as heard:
        await api.post("/api/v1/definitions/order:pause", BY)
        await api.post("/api/v1/sources/nothing:resume", BY)
    acts = [each for each in heard if each["event"] == "operator.act"]
    assert [(each["action"], each["outcome"], each["actor"], each["name"]) for each in acts] == [
        ("pause_definition", "accepted", "ada", "order"),
        ("resume_source", "refused", "ada", "nothing"),
    ]
