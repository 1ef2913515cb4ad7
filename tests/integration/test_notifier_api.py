"""What people may ask of the notifier over HTTP."""

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest_asyncio
from aiokafka import ConsumerRecord

from sagahook_notifier.wiring import build_app
from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.codec import decode
from sagahook_schemas.topics import AUDIT
from tests.notifier_api import NO_LIMITS, open_api
from tests.notifier_harness import COMPLETED, SECRET, Deployment, deploy, open_receiver, started
from tests.tracker_harness import serving

KEYS = {"SAGAHOOK_API_KEYS": {role: sha256(role.encode()).hexdigest() for role in ("reader", "admin")}}
ADMIN = {"Authorization": "Bearer admin"}


@pytest_asyncio.fixture
async def deployment(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Deployment]:
    async with deploy(kafka_bootstrap, topic_prefix, database_url) as deployed:
        yield deployed


async def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        return response.status, await response.json()


def api(deployment: Deployment, **settings: Any) -> Any:
    keys = json.dumps(KEYS["SAGAHOOK_API_KEYS"])
    return serving(build_app(deployment.settings(api_keys=keys, **NO_LIMITS, **settings)))


async def test_a_delivery_is_shown_with_its_payload_and_attempts(deployment: Deployment) -> None:
    async with open_receiver() as receiver:
        receiver.answer("/hook", 500, 204)
        endpoint = {
            "id": "crm",
            "url": f"{receiver.url}/hook",
            "secret": SECRET,
            "event_types": ["task_completed"],
            "retry_policy": [0.01],
        }
        async with deployment.running(endpoint):
            await deployment.log.write("s-1", started("s-1"), COMPLETED)
            await deployment.wait_until_finished(1)

    async with api(deployment) as url:
        status, listed = await get(f"{url}/api/v1/endpoints/crm/deliveries", ADMIN)
        assert status == 200
        (summary,) = listed
        status, shown = await get(f"{url}/api/v1/deliveries/{summary['id']}", ADMIN)

    assert status == 200
    assert shown.items() >= summary.items()
    assert summary["status"] == "succeeded"
    assert summary["task_id"] == "s-1"
    assert summary["attempt_count"] == 2
    assert shown["payload"]["data"]["status"] == "completed"
    assert [(each["attempt"], each["status_code"]) for each in shown["attempts"]] == [(1, 500), (2, 204)]
    assert shown["attempts"][0]["request_headers"]["webhook-signature"] == "[removed]"


async def test_deliveries_can_be_asked_for_by_status(deployment: Deployment) -> None:
    endpoint = {"id": "crm", "url": "http://127.0.0.1:1/", "secret": SECRET, "retry_policy": []}
    async with deployment.running(endpoint):
        await deployment.log.write("s-1", started("s-1"))
        await deployment.wait_until_finished(1)

    async with api(deployment) as url:
        at = f"{url}/api/v1/endpoints/crm/deliveries"
        assert len((await get(f"{at}?status=exhausted", ADMIN))[1]) == 1
        assert (await get(f"{at}?status=succeeded", ADMIN))[1] == []
        assert (await get(f"{at}?status=lost", ADMIN))[0] == 400


async def test_refusals_have_the_documented_shape(deployment: Deployment) -> None:
    async with api(deployment) as url:
        path = "/api/v1/deliveries/none"
        assert await get(url + path, ADMIN) == (
            404,
            {"error": "There is no delivery none", "status_code": 404, "path": path, "correlation_id": None},
        )
        assert (await get(f"{url}/api/v1/endpoints/none/deliveries", ADMIN))[0] == 404
        assert (await get(url + path))[0] == 401
        assert (await get(url + path, {"Authorization": "Bearer reader"}))[0] == 403


async def test_without_its_database_it_starts_and_says_so(deployment: Deployment) -> None:
    deployment.database_url = "postgresql://nobody@127.0.0.1:1/none"
    async with api(deployment) as url:
        status, body = await get(f"{url}/api/v1/deliveries/any", ADMIN)
        health = await get(f"{url}/health")

    assert (status, body["error"]) == (503, "The database is away: try again in a moment")
    assert health[0] == 200
    assert health[1]["checks"] == {"postgres": "degraded"}


def decoded(record: ConsumerRecord) -> AuditRecorded:
    told = decode(record.headers, record.value)[1]
    assert isinstance(told, AuditRecorded)
    return told


async def test_whatever_is_done_is_told_by_whom_before_it_is_answered(deployment: Deployment) -> None:
    keys = [{"id": "ada", "role": "admin", "hash": KEYS["SAGAHOOK_API_KEYS"]["admin"]}]
    given = {"kafka": deployment.kafka, "topic_prefix": deployment.prefix, "api_keys": json.dumps(keys)}
    async with open_api(deployment.database_url, **given) as api:
        await api.add(id="crm")
        delivery = (await api.post("/api/v1/endpoints/crm:test")).body["delivery_id"]
        since = {"since": "2026-03-01T12:00:00Z"}
        for method, path, body in (
            ("PATCH", "/api/v1/endpoints/crm", {"headers": {"X-Key": "hunter2"}}),
            ("PUT", "/api/v1/endpoints/crm", {"url": "https://crm.example/2"}),
            ("POST", "/api/v1/endpoints/crm:rotate-secret", {"secret": SECRET}),
            ("POST", "/api/v1/endpoints/crm:enable", None),
            ("POST", f"/api/v1/deliveries/{delivery}:resend", None),
            ("POST", "/api/v1/endpoints/crm:recover", since),
            ("POST", "/api/v1/deliveries:redrive", since),
            ("DELETE", "/api/v1/endpoints/crm", None),
        ):
            assert (await api.ask(method, path, body)).status < 300, path
        records = await deployment.records(AUDIT, 10)
        assert (await api.post("/api/v1/endpoints/crm:enable")).status == 404

    told = [decoded(each) for each in await deployment.records(AUDIT, 11)]
    assert {(each.action, each.target) for each in told if each.outcome == "done"} == {
        ("add_endpoint", "crm"),
        ("test_endpoint", "crm"),
        ("change_endpoint", "crm"),
        ("replace_endpoint", "crm"),
        ("rotate_secret", "crm"),
        ("enable_endpoint", "crm"),
        ("resend_delivery", delivery),
        ("recover_endpoint", "crm"),
        ("redrive_deliveries", "every endpoint"),
        ("remove_endpoint", "crm"),
    }
    assert [(each.action, each.reason) for each in told if each.outcome == "refused"] == [
        ("enable_endpoint", "There is no endpoint crm")
    ]
    assert {(each.actor, each.role, each.service) for each in told} == {("ada", "admin", "notifier")}
    for secret in ("hunter2", SECRET):
        assert secret.encode() not in b"".join(record.value for record in records)
