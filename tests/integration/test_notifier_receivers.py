"""Receivers built on the official libraries alone take every delivery, also while secrets are rotated."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.node_tools import run_script
from tests.notifier_api import Api, open_api
from tests.notifier_harness import COMPLETED, Arrival, Deployment, Receiver, started


@pytest_asyncio.fixture
async def api(deployment: Deployment) -> AsyncIterator[Api]:
    async with open_api(
        deployment.database_url, kafka=deployment.kafka, topic_prefix=deployment.prefix
    ) as opened:
        yield opened


def taken_in_python(arrival: Arrival, secrets: list[str]) -> dict[str, list[int]]:
    """The numbers of the secrets by which each library takes it."""

    def verifies(library: Any, secret: str) -> bool:
        try:
            library(secret).verify(arrival.body, arrival.headers)
        except (standardwebhooks.WebhookVerificationError, svix.WebhookVerificationError):
            return False
        return True

    return {
        name: [number for number, secret in enumerate(secrets) if verifies(library, secret)]
        for name, library in (("standardwebhooks", standardwebhooks.Webhook), ("svix", svix.Webhook))
    }


async def taken_in_javascript(arrivals: list[Arrival], secrets: list[str]) -> list[dict[str, list[int]]]:
    deliveries = [
        {
            "id": arrival.headers["webhook-id"],
            "timestamp": arrival.headers["webhook-timestamp"],
            "signature": arrival.headers["webhook-signature"],
            "body": arrival.body.decode(),
            "secrets": secrets,
        }
        for arrival in arrivals
    ]
    said = await run_script("verify_deliveries.mjs", DELIVERIES=json.dumps(deliveries))
    return list(json.loads(said))


async def test_each_library_verifies_each_delivery_by_every_secret_that_is_valid(
    deployment: Deployment, receiver: Receiver, api: Api
) -> None:
    rotate = "/api/v1/endpoints/hook:rotate-secret"
    formats = ("standard", "task", "cloudevents")
    async with deployment.running():
        made = await api.add(id="hook", url=f"{receiver.url}/hook", event_types=["task_completed"])
        secrets = [made["secret"]]
        for number, overlap in enumerate((3600, 3600, 0)):
            await api.ask("PATCH", "/api/v1/endpoints/hook", {"payload_format": formats[number]})
            await deployment.log.write(f"s-{number}", started(f"s-{number}"), COMPLETED)
            await receiver.wait_for(number + 1)
            secrets.append((await api.post(rotate, {"overlap": overlap})).body["secret"])
        await deployment.log.write("s-last", started("s-last"), COMPLETED)
        arrivals = await receiver.wait_for(4)

    expected = [[0], [0, 1], [0, 1, 2], [3]]
    assert [taken_in_python(arrival, secrets) for arrival in arrivals] == [
        {"standardwebhooks": numbers, "svix": numbers} for numbers in expected
    ]
    assert await taken_in_javascript(arrivals, secrets) == [
        {"standardwebhooks": numbers, "svix": numbers} for numbers in expected
    ]
    types = ["application/json", "application/json", "application/cloudevents+json"]
    assert [arrival.headers["Content-Type"] for arrival in arrivals[:3]] == types


async def test_a_receiver_that_has_the_public_key_alone_verifies_v1a(
    deployment: Deployment, receiver: Receiver, api: Api
) -> None:
    async with deployment.running():
        made = await api.add(id="hook", url=f"{receiver.url}/hook", signature="v1a")
        tested = (await api.post("/api/v1/endpoints/hook:test")).body
        (arrival,) = await receiver.wait_for(1)
        await deployment.wait_until_finished(1)

    assert arrival.delivery_id == tested["delivery_id"]
    key = Ed25519PublicKey.from_public_bytes(
        b64decode(made["secrets"][0]["public_key"].removeprefix("whpk_"))
    )
    kind, _, signature = arrival.headers["webhook-signature"].partition(",")
    signed = f"{arrival.delivery_id}.{arrival.headers['webhook-timestamp']}.".encode() + arrival.body
    assert kind == "v1a"
    key.verify(b64decode(signature), signed)


async def test_what_failed_while_a_receiver_was_down_is_recovered_under_the_same_ids(
    deployment: Deployment, receiver: Receiver, api: Api
) -> None:
    receiver.answer("/hook", 500)
    async with deployment.running(notify_breaker_failures=1000):
        await api.add(id="hook", url=f"{receiver.url}/hook", event_types=["task_completed"], retry_policy=[])
        for number in range(5):
            await deployment.log.write(f"s-{number}", started(f"s-{number}"), COMPLETED)
        await deployment.wait_until_finished(5)
        dead = (await api.get("/api/v1/deliveries")).body
        receiver.answer("/hook", 204)

        said = await api.post(
            "/api/v1/endpoints/hook:recover", {"since": dead[-1]["created_at"], "rate": 1000}
        )
        arrivals = await receiver.wait_for(10)
        await deployment.wait_until("SELECT bool_and(status = 'succeeded') FROM notifier.deliveries")

    assert said.body == {"count": 5, "more": False}
    assert {each["id"] for each in dead} == {arrival.delivery_id for arrival in arrivals[5:]}
    shown = (await api.get(f"/api/v1/deliveries/{dead[0]['id']}")).body
    assert [attempt["status_code"] for attempt in shown["attempts"]] == [500, 204]


async def test_only_what_a_filter_wants_is_sent(deployment: Deployment, receiver: Receiver, api: Api) -> None:
    async with deployment.running():
        await api.add(id="hook", url=f"{receiver.url}/hook", filter='attributes.shop == "here"')
        for shop in ("there", "here"):
            begun = started(shop).model_copy(update={"attributes": {"shop": shop}})
            await deployment.log.write(shop, begun, COMPLETED)
        arrivals = await receiver.wait_for(2)
        await deployment.caught_up()
        await deployment.wait_until_finished(2)

    assert {arrival.payload["data"]["task_id"] for arrival in arrivals} == {"here"}
