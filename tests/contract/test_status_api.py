"""The status routes of api.md §1, over HTTP, from a log on real Kafka through views in real PostgreSQL."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import chain
from typing import Any

import pytest
import pytest_asyncio

from sagahook_schemas.webhooks import RouteError
from tests.tracker_harness import Api, Tracker, open_tracker_of_its_own
from tests.tracker_log import SagaLog, Written, received, routed

KEY = "a reader's key"


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs."""
    async with open_tracker_of_its_own(kafka_bootstrap, postgres_url) as tracker, tracker.projecting():
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    async with tracker.api() as api:
        yield api


class Ids:
    """Of one webhook, used by no other test."""

    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        self.event, self.cid = f"e-{unique}", f"c-{unique}"
        self.sagas = [f"s-{unique}-{number}" for number in range(3)]

    def saga(self, number: int = 0) -> SagaLog:
        return SagaLog(self.sagas[number]).started(self.event, self.cid, order=42)


@pytest.fixture
def ids() -> Ids:
    return Ids()


async def told(tracker: Tracker, api: Api, ids: Ids, *records: Written) -> Any:
    """The status once the records are projected."""
    await tracker.log.write(records)
    await tracker.until_caught_up()
    return await api.status(ids.cid)


async def test_queued(tracker: Tracker, api: Api, ids: Ids) -> None:
    body = await told(tracker, api, ids, received(ids.event, ids.cid))
    assert body == {
        "correlation_id": ids.cid,
        "source": "shop",
        "status": "queued",
        "message": "Event queued for processing",
        "final": False,
        "saga_ids": [],
        "saga_statuses": {},
        "saga_errors": {},
        "sagas": [],
    }


async def test_processing(tracker: Tracker, api: Api, ids: Ids) -> None:
    routes = routed(ids.event, ids.cid, *ids.sagas[:2])
    body = await told(tracker, api, ids, received(ids.event, ids.cid), routes, *ids.saga().written)
    assert (body["status"], body["message"], body["final"]) == (
        "processing",
        "Event is being processed",
        False,
    )
    assert body["saga_ids"] == ids.sagas[:2]
    assert body["saga_statuses"] == {ids.sagas[0]: "executing", ids.sagas[1]: "pending"}
    assert [saga["saga_id"] for saga in body["sagas"]] == ids.sagas[:1]


async def test_triggered(tracker: Tracker, api: Api, ids: Ids) -> None:
    log = ids.saga().done("reserve").scheduled("charge").failed_attempt("charge", "Timeout: no answer")
    routes = routed(ids.event, ids.cid, ids.sagas[0])
    records = [received(ids.event, ids.cid), routes, *log.retry("charge", 2).written]
    body = await told(tracker, api, ids, *records)
    assert (body["status"], body["final"]) == ("triggered", False)
    assert body["message"] == "Event triggered 1 saga(s), waiting for completion"
    assert body["sagas"] == [
        {
            "saga_id": ids.sagas[0],
            "name": "order",
            "run": 1,
            "state": "EXECUTING",
            "steps": [
                {"name": "reserve", "status": "completed", "attempts": 1, "error": None},
                {"name": "charge", "status": "retrying", "attempts": 1, "error": "Timeout: no answer"},
            ],
        }
    ]


async def test_completed(tracker: Tracker, api: Api, ids: Ids) -> None:
    logs = [ids.saga(0).done("reserve").completed(), ids.saga(1).completed()]
    routes = routed(ids.event, ids.cid, *ids.sagas[:2])
    records = chain([received(ids.event, ids.cid), routes], *(log.written for log in logs))
    body = await told(tracker, api, ids, *records)
    assert (body["status"], body["final"]) == ("completed", True)
    assert body["message"] == "All 2 saga(s) completed successfully"
    assert body["saga_statuses"] == dict.fromkeys(ids.sagas[:2], "completed")
    assert body["saga_errors"] == {}


async def test_completed_with_failures(tracker: Tracker, api: Api, ids: Ids) -> None:
    logs = [
        ids.saga(0).completed(),
        ids.saga(1).declined(error="Declined: too much"),
        ids.saga(2).completed(),
    ]
    routes = routed(ids.event, ids.cid, *ids.sagas)
    records = chain([received(ids.event, ids.cid), routes], *(log.written for log in logs))
    body = await told(tracker, api, ids, *records)
    assert (body["status"], body["final"]) == ("completed_with_failures", True)
    assert body["message"] == "2 saga(s) completed, 1 failed"
    assert body["saga_statuses"][ids.sagas[1]] == "failed"
    assert body["saga_errors"] == {ids.sagas[1]: "Declined: too much"}


async def test_failed_because_its_sagas_did(tracker: Tracker, api: Api, ids: Ids) -> None:
    routes = routed(ids.event, ids.cid, ids.sagas[0])
    body = await told(tracker, api, ids, received(ids.event, ids.cid), routes, *ids.saga().declined().written)
    assert (body["status"], body["message"], body["final"]) == ("failed", "Saga execution failed", True)
    assert body["saga_statuses"] == {ids.sagas[0]: "failed"}
    assert body["sagas"][0]["state"] == "ROLLED_BACK"


async def test_failed_because_it_could_not_be_processed(tracker: Tracker, api: Api, ids: Ids) -> None:
    reason = "order: KeyError: 'total'"
    lost = [RouteError(name="order", error="KeyError: 'total'")]
    routes = routed(ids.event, ids.cid, outcome="failed", reason=reason, errors=lost)
    body = await told(tracker, api, ids, received(ids.event, ids.cid), routes)
    assert (body["status"], body["message"], body["final"]) == ("failed", reason, True)


async def test_ignored(tracker: Tracker, api: Api, ids: Ids) -> None:
    routes = routed(ids.event, ids.cid, reason="no trigger wants it")
    body = await told(tracker, api, ids, received(ids.event, ids.cid), routes)
    assert (body["status"], body["message"], body["final"]) == ("ignored", "no trigger wants it", True)


async def test_one_correlation_id_covers_all_its_events(tracker: Tracker, api: Api, ids: Ids) -> None:
    second = SagaLog(ids.sagas[1]).started(f"{ids.event}-2", ids.cid).scheduled("reserve")
    records = [
        received(ids.event, ids.cid),
        received(f"{ids.event}-2", ids.cid),
        received(f"{ids.event}-3", ids.cid, source="elsewhere"),
        routed(ids.event, ids.cid, ids.sagas[0]),
        routed(f"{ids.event}-2", ids.cid, ids.sagas[1]),
        *ids.saga().completed().written,
        *second.written,
    ]
    body = await told(tracker, api, ids, *records)
    assert body["status"] == "triggered"
    assert set(body["saga_ids"]) == set(ids.sagas[:2])
    assert (await api.status(ids.cid, source="elsewhere"))["status"] == "queued"


async def test_a_webhook_that_joined_a_saga_shows_it_under_its_own_correlation_id(
    tracker: Tracker, api: Api, ids: Ids
) -> None:
    joining = f"{ids.cid}-again"
    log = ids.saga().completed().joined(f"{ids.event}-again", joining, state="COMPLETED")
    records = [
        received(ids.event, ids.cid),
        received(f"{ids.event}-again", joining),
        routed(ids.event, ids.cid, ids.sagas[0]),
        routed(f"{ids.event}-again", joining, ids.sagas[0]),
        *log.written,
    ]
    first = await told(tracker, api, ids, *records)
    again = await api.status(joining)
    assert again == first | {"correlation_id": joining}
    _, saga, _ = await api.get(f"/webhooks/status/{ids.sagas[0]}")
    assert saga["correlation_ids"] == [ids.cid, joining]


async def test_a_retry_after_the_end_is_told_as_the_newest_run(tracker: Tracker, api: Api, ids: Ids) -> None:
    second = SagaLog(ids.sagas[0], run=2).started(ids.event, ids.cid).completed()
    routes = routed(ids.event, ids.cid, ids.sagas[0])
    records = [received(ids.event, ids.cid), routes, *ids.saga().declined().written, *second.written]
    body = await told(tracker, api, ids, *records)
    assert body["status"] == "completed"
    assert [(saga["run"], saga["state"]) for saga in body["sagas"]] == [(2, "COMPLETED")]
    _, saga, _ = await api.get(f"/webhooks/status/{ids.sagas[0]}")
    assert (saga["run"], saga["state"], saga["error"]) == (2, "COMPLETED", None)


async def test_a_saga_by_its_id(tracker: Tracker, api: Api, ids: Ids) -> None:
    routes = routed(ids.event, ids.cid, ids.sagas[0])
    log = ids.saga().declined(step="charge", error="Declined: too much")
    await told(tracker, api, ids, received(ids.event, ids.cid), routes, *log.written)
    code, body, _ = await api.get(f"/webhooks/status/{ids.sagas[0]}")
    assert code == 200
    times = {
        name: datetime.fromisoformat(body.pop(name)) for name in ("started_at", "updated_at", "finished_at")
    }
    assert times["started_at"].tzinfo is not None
    assert times["started_at"] < times["finished_at"] == times["updated_at"]
    assert body == {
        "saga_id": ids.sagas[0],
        "run": 1,
        "name": "order",
        "version": 3,
        "state": "ROLLED_BACK",
        "context": {"order": 42},
        "user_id": "u-1",
        "total_steps": 3,
        "completed_steps": ["reserve"],
        "failed_step": "charge",
        "error": "Declined: too much",
        "attempts": 3,
        "steps": [
            {"name": "reserve", "status": "compensated", "attempts": 1, "error": None}
            | {"compensation_attempts": 1, "child_id": None, "signal": None, "due_at": None},
            {"name": "charge", "status": "failed", "attempts": 1, "error": "Declined: too much"}
            | {"compensation_attempts": 0, "child_id": None, "signal": None, "due_at": None},
        ],
        "correlation_ids": [ids.cid],
        "progress": pytest.approx(1 / 3),
        "message": None,
        "cause": None,
        "unresolved": [],
        "attributes": {},
        "source": "shop",
        "definition_hash": "h",
        "limit_key": None,
        "parent": None,
        "acts": [],
        "deadline_at": None,
        "held": None,
    }


async def test_a_suspended_saga_is_not_final_and_says_why(tracker: Tracker, api: Api, ids: Ids) -> None:
    routes = routed(ids.event, ids.cid, ids.sagas[0])
    log = ids.saga().scheduled("charge").suspended("its process died three times")
    body = await told(tracker, api, ids, received(ids.event, ids.cid), routes, *log.written)
    assert (body["status"], body["final"]) == ("triggered", False)
    assert body["saga_statuses"] == {ids.sagas[0]: "suspended"}
    assert body["saga_errors"] == {ids.sagas[0]: "its process died three times"}


async def test_a_source_may_be_called_status(tracker: Tracker, api: Api, ids: Ids) -> None:
    await tracker.log.write([received(ids.event, ids.cid, source="status")])
    await tracker.until_caught_up()
    assert (await api.status(ids.cid, source="status"))["status"] == "queued"


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/shop/status/never-heard-of",
        "/webhooks/status/never-heard-of",
        "/webhooks/shop/status/not%20an%20id",
        "/webhooks/sh%00op/status/x",
        "/webhooks/status/%00",
    ],
)
async def test_an_unknown_id_is_404_with_the_documented_body(tracker: Tracker, api: Api, path: str) -> None:
    await tracker.until_caught_up()
    code, body, _ = await api.get(path, headers={"X-Correlation-ID": "mine"})
    assert code == 404
    assert body.keys() == {"error", "status_code", "path", "correlation_id"}
    assert (body["status_code"], body["correlation_id"]) == (404, "mine")


async def test_the_id_of_one_source_is_unknown_under_another(tracker: Tracker, api: Api, ids: Ids) -> None:
    await tracker.log.write([received(ids.event, ids.cid, source="shop")])
    await tracker.until_caught_up()
    code, _, _ = await api.get(f"/webhooks/elsewhere/status/{ids.cid}")
    assert code == 404


@pytest.mark.parametrize("wait", ["-1", "31", "soon", "nan"])
async def test_a_wait_that_makes_no_sense_is_400(api: Api, wait: str) -> None:
    code, body, _ = await api.get(f"/webhooks/shop/status/x?wait={wait}")
    assert code == 400
    assert body["error"].startswith("query.wait: ")


async def test_health_and_metrics_are_there(api: Api) -> None:
    async with asyncio.timeout(
        20
    ):  # it listens to PostgreSQL, and asks Kafka for the lag, soon after its start
        while (told := await api.get("/health"))[1]["status"] != "healthy":
            await asyncio.sleep(0.05)
        assert (told[0], told[1]["checks"]) == (200, {"postgresql": "healthy"})
        for name in (
            'sagahook_ready{service="tracker-api"} 1.0',
            'database_connections_active{service="tracker-api"}',
            "queue_size{",
            "celery_queue_size{",
            'workflow_tasks_total{state="COMPLETED",task_type="order"}',
            'workflow_task_duration_seconds_count{task_type="order"}',
            'workflow_task_retries_total{task_type="order"}',
        ):
            while name not in await _metrics(api):
                await asyncio.sleep(0.05)


async def _metrics(api: Api) -> str:
    async with api.http.get("/metrics") as response:
        return await response.text()


@pytest_asyncio.fixture(scope="module")
async def guarded(tracker: Tracker) -> AsyncIterator[Api]:
    """SAGAHOOK_STATUS_AUTH=true."""
    keys = {"reader": hashlib.sha256(KEY.encode()).hexdigest()}
    async with tracker.told_otherwise(status_auth=True, api_keys=keys).api() as api:
        yield api


@pytest.mark.parametrize("path", ["/webhooks/shop/status/x", "/webhooks/status/x"])
async def test_where_keys_are_needed_no_key_is_401(guarded: Api, path: str) -> None:
    code, body, headers = await guarded.get(path)
    assert (code, body["status_code"], headers["WWW-Authenticate"]) == (401, 401, "Bearer")


@pytest.mark.parametrize(("key", "code"), [("wrong", 403), (KEY, 404)])
async def test_where_keys_are_needed_only_the_right_one_opens(guarded: Api, key: str, code: int) -> None:
    answered, _, _ = await guarded.get("/webhooks/status/x", headers={"Authorization": f"Bearer {key}"})
    assert answered == code


async def test_health_needs_no_key(guarded: Api) -> None:
    assert (await guarded.get("/health"))[0] == 200


async def test_the_routes_are_documented_with_their_answers_and_errors(api: Api) -> None:
    _, document, _ = await api.get("/openapi.json")
    routes = document["paths"]
    webhook = routes["/webhooks/{source}/status/{correlation_id}"]["get"]
    assert [parameter["name"] for parameter in webhook["parameters"]] == ["source", "correlation_id", "wait"]
    assert webhook["responses"].keys() >= {"200", "400", "404", "503"}
    answer = document["components"]["schemas"]["WebhookStatus"]
    assert set(answer["required"]) == set(answer["properties"])
    assert "/webhooks/status/{saga_id}" in routes
