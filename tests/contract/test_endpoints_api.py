"""`/api/v1/endpoints` (api.md §6): the shape of every answer, and what people may do to an endpoint."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from sagahook.runtime.clock import SystemClock
from sagahook.runtime.database import open_pool
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.domain.endpoints import EndpointConfig
from tests.notifier_api import Api, Kept, open_api, open_kept
from tests.notifier_harness import SECRET, SECRET_KEY, notifier_settings

CONFIGURED = {"id": "billing", "url": "https://billing.example/hooks", "secret": SECRET}


def configured(*endpoints: dict[str, Any]) -> tuple[EndpointConfig, ...]:
    return notifier_settings(endpoints, database_url="postgresql://x").endpoints


@pytest_asyncio.fixture(scope="module")
async def kept(postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[Kept]:
    async with open_kept(postgres_url, kafka_bootstrap) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def api(kept: Kept) -> AsyncIterator[Api]:
    async with open_api(kept.url, CONFIGURED, **kept.log) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def store(kept: Kept) -> AsyncIterator[EndpointStore]:
    settings = notifier_settings([CONFIGURED], database_url=kept.url)
    pool = await open_pool(settings)
    store = EndpointStore(pool, Vault(settings.secret_keys))
    await store.put_configured(settings.endpoints, SystemClock().now())
    yield store
    await pool.close()


async def test_an_endpoint_has_the_documented_shape(api: Api) -> None:
    made = await api.add(id="shape")

    assert made["secret"].startswith("whsec_")
    (secret,) = made["secrets"]
    assert secret.keys() == {"signature", "public_key", "created_at", "expires_at"}
    assert made | dict.fromkeys(("secret", "secrets", "created_at", "updated_at")) == {
        "id": "shape",
        "url": "https://crm.example/hooks",
        "description": "",
        "event_types": ["task_started", "task_completed", "task_failed"],
        "sources": None,
        "sagas": None,
        "filter": None,
        "secret": None,
        "secrets": None,
        "retry_policy": "standard",
        "payload_format": "standard",
        "headers": {},
        "rate_limit": None,
        "ordered": False,
        "enabled": True,
        "disabled_at": None,
        "disabled_reason": None,
        "origin": "api",
        "created_at": None,
        "updated_at": None,
    }


async def test_its_secret_is_shown_once(api: Api) -> None:
    made = await api.add(id="once", headers={"Authorization": "Bearer hunter2"})

    shown = await api.get("/api/v1/endpoints/once")
    listed = await api.get("/api/v1/endpoints?limit=1000")
    changed = await api.ask("PATCH", "/api/v1/endpoints/once", {"description": "the shop's"})

    assert shown.body == {**made, "secret": None}
    assert shown.body in listed.body
    assert changed.body["description"] == "the shop's"
    for said in (shown, listed, changed):
        assert made["secret"] not in str(said)
        assert "hunter2" not in str(said)
    assert shown.body["headers"] == {"Authorization": "[removed]"}


async def test_what_is_stored_of_secrets_is_encrypted(api: Api, kept: Kept) -> None:
    made = await api.add(id="sealed", headers={"Authorization": "Bearer hunter2"})

    row = await kept.pool.fetchval("SELECT endpoints::text FROM notifier.endpoints WHERE id = 'sealed'")

    sealed = await kept.pool.fetchval("SELECT sealed FROM notifier.endpoints WHERE id = 'sealed'")
    for secret in (made["secret"], "hunter2"):
        assert secret not in row
        assert secret.encode() not in sealed
    assert "hunter2" in str(
        [value.get_secret_value() for value in Vault([SECRET_KEY]).open("sealed", sealed).headers.values()]
    )


async def test_everything_may_be_said_of_an_endpoint(api: Api) -> None:
    said: dict[str, Any] = {
        "id": "all-of-it",
        "url": "http://10.0.0.7:8080/hooks?x=1",
        "description": "everything",
        "event_types": ["saga.*", "step.failed", "task_progress"],
        "sources": ["github"],
        "sagas": ["pull_request_analysis"],
        "filter": 'attributes.repository == "a/b" and progress >= 0.5',
        "retry_policy": [0.5, 10.0],
        "payload_format": "cloudevents",
        "rate_limit": "10/s burst 20",
        "ordered": True,
        "enabled": False,
    }

    made = await api.add(**said, secret=SECRET)

    assert {name: made[name] for name in said} == said
    assert made["secret"] == SECRET


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"url": "ftp://x.example"}, "body.url: the URL must be http or https"),
        ({"filter": "progress = 1"}, "body.filter: at character 10: equality is written =="),
        ({"secret": "hunter2hunter2"}, "body.secret: a signing secret begins with whsec_"),
        ({"event_types": ["task_done"]}, "body.event_types: unknown event types task_done"),
        ({"event_types": []}, "body.event_types"),
        ({"headers": {"webhook-id": "1"}}, "body.headers: webhook-id is set by sagahook itself"),
        ({"headers": {"X-Key": "[removed]"}}, "headers: there is no value of X-Key to keep"),
        ({"rate_limit": "often"}, "body.rate_limit"),
        ({"id": "notify-me"}, "body.id: ids that begin with notify-"),
        ({"id": "a b"}, "body.id"),
        ({"colour": "red"}, "body.colour"),
    ],
)
async def test_what_is_wrong_with_an_endpoint_is_named(api: Api, wrong: dict[str, Any], error: str) -> None:
    said = await api.post("/api/v1/endpoints", {"url": "https://crm.example/", **wrong})

    assert said.status == 400
    assert said.body["error"].startswith(error)
    assert said.body.keys() - {"errors"} == {"error", "status_code", "path", "correlation_id"}
    assert "hunter2" not in str(said)


async def test_an_id_is_given_once(api: Api) -> None:
    await api.add(id="taken")

    for id in ("taken", "billing"):
        said = await api.post("/api/v1/endpoints", {"id": id, "url": "https://crm.example/"})
        assert (said.status, said.body["error"]) == (
            409,
            f"there is an endpoint {id}: choose another id, or change that one",
        )


async def test_a_change_leaves_the_rest_and_a_replacement_does_not(api: Api) -> None:
    await api.add(id="changing", sources=["github"], headers={"X-Key": "first", "X-Other": "second"})
    path = "/api/v1/endpoints/changing"

    changed = await api.ask("PATCH", path, {"ordered": True, "headers": {"x-key": "[removed]"}})
    assert (changed.body["ordered"], changed.body["sources"]) == (True, ["github"])
    assert changed.body["headers"] == {"x-key": "[removed]"}

    replaced = await api.ask("PUT", path, {"url": "https://crm.example/2"})
    assert (replaced.body["ordered"], replaced.body["sources"], replaced.body["headers"]) == (False, None, {})
    assert replaced.body["secrets"] == changed.body["secrets"]
    assert (await api.ask("PATCH", path, {"url": "nowhere"})).status == 400
    assert (await api.get(path)).body["url"] == "https://crm.example/2"


async def test_a_secret_is_rotated_with_both_valid_for_a_while(api: Api) -> None:
    first = await api.add(id="rotating")

    second = (await api.post("/api/v1/endpoints/rotating:rotate-secret", {"overlap": 3600})).body

    assert second["secret"].startswith("whsec_")
    assert second["secret"] != first["secret"]
    newest, old = second["secrets"]
    assert newest["expires_at"] is None
    expires = datetime.fromisoformat(old["expires_at"])
    assert expires - datetime.fromisoformat(newest["created_at"]) == timedelta(hours=1)

    third = (
        await api.post("/api/v1/endpoints/rotating:rotate-secret", {"overlap": 0, "secret": SECRET})
    ).body
    assert third["secret"] == SECRET
    assert len(third["secrets"]) == 1
    without_a_body = await api.post("/api/v1/endpoints/rotating:rotate-secret")
    assert len(without_a_body.body["secrets"]) == 2


async def test_the_public_key_of_v1a_is_shown_and_a_rotation_stays_with_it(api: Api) -> None:
    made = await api.add(id="asymmetric", signature="v1a")

    (secret,) = made["secrets"]
    assert made["secret"].startswith("whsk_")
    assert secret["signature"] == "v1a"
    assert secret["public_key"].startswith("whpk_")
    rotated = (await api.post("/api/v1/endpoints/asymmetric:rotate-secret", {})).body
    assert [each["signature"] for each in rotated["secrets"]] == ["v1a", "v1a"]
    back = (await api.post("/api/v1/endpoints/asymmetric:rotate-secret", {"signature": "v1"})).body
    assert [each["signature"] for each in back["secrets"]] == ["v1", "v1a", "v1a"]


async def test_too_many_secrets_at_once_are_refused(api: Api) -> None:
    await api.add(id="often")
    path = "/api/v1/endpoints/often:rotate-secret"

    statuses = [(await api.post(path)).status for _ in range(4)]

    assert statuses == [200, 200, 200, 409]
    assert (await api.post(path, {"overlap": 0})).status == 200


async def test_a_removed_endpoint_is_gone_with_its_secrets_and_its_deliveries_stay(
    api: Api, kept: Kept
) -> None:
    await api.add(id="leaving")
    waiting = await kept.delivery("leaving", "pending", attempts=0)

    assert (await api.ask("DELETE", "/api/v1/endpoints/leaving")).status == 204

    assert (await api.get("/api/v1/endpoints/leaving")).status == 404
    assert (await api.ask("DELETE", "/api/v1/endpoints/leaving")).status == 404
    (delivery,) = (await api.get("/api/v1/endpoints/leaving/deliveries")).body
    assert (delivery["id"], delivery["status"]) == (waiting, "cancelled")
    assert not await kept.pool.fetchval("SELECT active FROM notifier.endpoints WHERE id = 'leaving'")
    assert await kept.pool.fetchval("SELECT sealed IS NULL FROM notifier.endpoints WHERE id = 'leaving'")
    assert (await api.post(f"/api/v1/deliveries/{waiting}:resend")).status == 409
    again = await api.add(id="leaving")
    assert again["enabled"]


async def test_one_that_was_switched_off_is_enabled_again(api: Api, kept: Kept) -> None:
    await api.add(id="failing")
    await kept.pool.execute(
        "UPDATE notifier.endpoints SET disabled_at = now(), disabled_reason = 'it answered 410' WHERE id = 'failing'"
    )
    await kept.pool.execute(
        "INSERT INTO notifier.endpoint_health (endpoint_id, failures) VALUES ('failing', 9)"
    )
    off = (await api.get("/api/v1/endpoints/failing")).body
    assert (off["enabled"], off["disabled_reason"]) == (False, "it answered 410")
    refused = await api.post("/api/v1/endpoints/failing:test")
    assert (refused.status, refused.body["error"]) == (
        409,
        "failing is switched off, so nothing would be sent: enable it first",
    )

    on = (await api.post("/api/v1/endpoints/failing:enable")).body

    assert (on["enabled"], on["disabled_at"], on["disabled_reason"]) == (True, None, None)
    assert await kept.pool.fetchval(
        "SELECT count(*) = 0 FROM notifier.endpoint_health WHERE endpoint_id = 'failing'"
    )


async def test_a_test_is_a_delivery(api: Api, kept: Kept) -> None:
    await api.add(id="tested", payload_format="task")

    said = await api.post("/api/v1/endpoints/tested:test")

    assert said.status == 202
    shown = (await api.get(f"/api/v1/deliveries/{said.body['delivery_id']}")).body
    assert (shown["event_type"], shown["status"], shown["task_id"]) == ("endpoint.test", "pending", "")
    assert shown["payload"]["event_type"] == "endpoint.test"
    assert shown["payload"]["data"]["metadata"]["endpoint_id"] == "tested"


async def test_a_configured_endpoint_is_shown_and_changed_where_it_is_configured(
    api: Api, store: EndpointStore
) -> None:
    shown = (await api.get("/api/v1/endpoints/billing")).body
    assert (shown["origin"], shown["url"]) == ("configuration", CONFIGURED["url"])
    assert SECRET not in str(shown)

    for method, action, body in (
        ("PATCH", "", {"ordered": True}),
        ("PUT", "", {"url": "https://x.example"}),
        ("DELETE", "", None),
        ("POST", ":rotate-secret", {}),
    ):
        said = await api.ask(method, f"/api/v1/endpoints/billing{action}", body)
        assert (said.status, said.body["error"]) == (
            409,
            "billing is configured: change it in SAGAHOOK_ENDPOINTS",
        )
    assert (await api.post("/api/v1/endpoints/billing:test")).status == 202


async def test_a_url_that_a_webhook_named_is_shown_and_enabled_but_not_changed(api: Api, kept: Kept) -> None:
    await kept.pool.execute(
        """
        INSERT INTO notifier.endpoints (
            id, origin, url, signing_source, event_types, payload_format, retry_policy, headers, enabled, created_at,
            updated_at, disabled_at, disabled_reason
        )
        VALUES ('notify-1', 'notify_url', 'https://caller.example', 'orders', '{task_completed}', 'standard',
            '"standard"', '{}', TRUE, now(), now(), now(), 'it answered 410')
        """
    )
    path = "/api/v1/endpoints/notify-1"

    shown = (await api.get(path)).body
    assert (shown["origin"], shown["secrets"], shown["enabled"]) == ("notify_url", [], False)
    assert "notify-1" not in [each["id"] for each in (await api.get("/api/v1/endpoints?limit=1000")).body]
    assert (await api.post(f"{path}:enable")).body["enabled"]
    for method, action in (("PATCH", ""), ("DELETE", ""), ("POST", ":rotate-secret")):
        said = await api.ask(method, path + action, None if method == "DELETE" else {})
        assert (said.status, said.body["error"]) == (
            409,
            "notify-1 is a URL that webhooks of a source named: it cannot be changed",
        )


async def test_what_is_configured_as_before_is_left_as_it_is_at_the_next_start(
    kept: Kept, store: EndpointStore
) -> None:
    async def stored() -> Any:
        return await kept.pool.fetchrow("SELECT * FROM notifier.endpoints WHERE id = 'billing'")

    before = await stored()

    await store.put_configured(configured(CONFIGURED), SystemClock().now())
    assert await stored() == before

    await store.put_configured(configured({**CONFIGURED, "headers": {"X-Key": "1"}}), SystemClock().now())
    after = await stored()
    assert after["updated_at"] > before["updated_at"]
    assert after["sealed"] != before["sealed"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", ":rotate-secret"),
        ("POST", ":test"),
        ("POST", ":enable"),
        ("POST", ":recover"),
        ("GET", "/stats"),
        ("GET", "/deliveries"),
    ],
)
async def test_an_endpoint_that_is_not_there_is_404_and_a_key_of_a_lower_role_403(
    api: Api, method: str, path: str
) -> None:
    where = f"/api/v1/endpoints/none{path}"
    body = {"PATCH": {}, "PUT": {"url": "https://x.example"}}.get(method)
    if path == ":recover":
        body = {"since": "2026-03-01T12:00:00Z"}

    said = await api.ask(method, where, body)

    assert (said.status, said.body) == (
        404,
        {"error": "There is no endpoint none", "status_code": 404, "path": where, "correlation_id": None},
    )
    assert (await api.ask(method, where, body, key=None)).status == 401
    assert (await api.ask(method, where, body, key="operator")).status == 403


async def test_a_key_may_call_so_often_and_is_told_when_to_come_again(kept: Kept) -> None:
    async with open_api(kept.url, api_rate_limit="100/h burst 2") as limited:
        said = [await limited.get("/api/v1/endpoints") for _ in range(3)]

    assert [each.status for each in said] == [200, 200, 429]
    assert said[2].body.keys() == {"error", "status_code", "path", "correlation_id"}
    assert 30 <= int(said[2].headers["Retry-After"]) <= 36


async def test_while_kafka_is_away_nothing_is_done_and_everything_is_shown(api: Api, kept: Kept) -> None:
    made = await api.add(id="staying")
    delivery = await kept.delivery("staying", "exhausted")
    async with open_api(kept.url, api_rate_limit="none") as alone:
        for method, path, body in (
            ("POST", "/api/v1/endpoints", {"id": "never", "url": "https://crm.example"}),
            ("PATCH", "/api/v1/endpoints/staying", {"ordered": True}),
            ("PUT", "/api/v1/endpoints/staying", {"url": "https://x.example"}),
            ("DELETE", "/api/v1/endpoints/staying", None),
            ("POST", "/api/v1/endpoints/staying:rotate-secret", None),
            ("POST", "/api/v1/endpoints/staying:enable", None),
            ("POST", "/api/v1/endpoints/staying:test", None),
            ("POST", "/api/v1/endpoints/staying:recover", {"since": "2026-03-01T12:00:00Z"}),
            ("POST", f"/api/v1/deliveries/{delivery}:resend", None),
            ("POST", "/api/v1/deliveries:redrive", {"since": "2026-03-01T12:00:00Z"}),
        ):
            said = await alone.ask(method, path, body)
            assert (said.status, said.headers["Retry-After"]) == (503, "2"), path
            assert said.body["error"].startswith("Kafka is away")

        assert (await alone.get("/api/v1/endpoints/staying")).body == {**made, "secret": None}
        assert (await alone.get("/api/v1/endpoints/never")).status == 404
        (left,) = (await alone.get("/api/v1/endpoints/staying/deliveries")).body
    assert (left["id"], left["status"]) == (delivery, "exhausted")


async def test_what_was_stored_in_the_clear_is_encrypted_at_the_start(
    kept: Kept, store: EndpointStore
) -> None:
    secret = "whsec_" + b64encode(b"an old secret of 24 bytes").decode()
    await kept.pool.execute(
        """
        INSERT INTO notifier.endpoints (
            id, origin, url, secret, event_types, payload_format, retry_policy, headers, enabled, created_at, updated_at
        )
        VALUES ('old', 'configuration', 'https://old.example', $1, '{task_failed}', 'standard', '"standard"',
            '{"X-Key": "hunter2"}', TRUE, now(), now())
        """,
        secret,
    )

    await store.seal()

    found = await store.find("old")
    assert found is not None
    assert found.credentials is not None
    assert [each.value.get_secret_value() for each in found.credentials.secrets] == [secret]
    assert found.credentials.headers["X-Key"].get_secret_value() == "hunter2"
    row = await kept.pool.fetchval("SELECT endpoints::text FROM notifier.endpoints WHERE id = 'old'")
    assert secret not in row
    assert "hunter2" not in row


async def test_another_key_takes_over_what_the_first_encrypted(
    kept: Kept, store: EndpointStore, api: Api
) -> None:
    made = await api.add(id="two-keys")
    pool = await open_pool(notifier_settings(database_url=kept.url))
    new = "a new key, of 24 characters or more"

    stranger = EndpointStore(pool, Vault([new]))
    await stranger.seal()
    unread = await stranger.find("two-keys")
    assert unread is not None
    assert unread.credentials is None

    await EndpointStore(pool, Vault([new, SECRET_KEY])).seal()
    found = await stranger.find("two-keys")
    assert found is not None
    assert found.credentials is not None
    assert found.credentials.secrets[0].value.get_secret_value() == made["secret"]
    assert (await api.get("/api/v1/endpoints/two-keys")).body["secrets"] is None
    refused = await api.ask("PATCH", "/api/v1/endpoints/two-keys", {"headers": {"X": "1"}})
    assert refused.status == 409
    assert (await api.ask("PATCH", "/api/v1/endpoints/two-keys", {"description": "still"})).status == 200
    found = await stranger.find("two-keys")
    assert found is not None
    assert found.credentials is not None
    await EndpointStore(pool, Vault([SECRET_KEY, new])).seal()
    await pool.close()
