"""Outbound webhooks on a real broker, a real database and a real receiver."""

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web

from sagahook_schemas.identity import delivery_id
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded
from sagahook_schemas.topics import SAGA_EVENTS
from tests.notifier_harness import (
    COMPLETED,
    SECRET,
    SOURCES,
    Deployment,
    Receiver,
    done,
    joined,
    started,
    verified,
)


def hook(receiver: Receiver, path: str = "/hook", **options: Any) -> dict[str, Any]:
    return {"id": path.strip("/"), "url": receiver.url + path, "secret": SECRET} | options


async def test_a_saga_is_told_once_and_the_official_library_verifies_it(
    deployment: Deployment, receiver: Receiver
) -> None:
    async with deployment.running(hook(receiver)):
        await deployment.log.write("s-1", started("s-1"), done({"reservation": 7}), COMPLETED)
        start, end = await receiver.wait_for(2)
        await deployment.wait_until_finished(2)

    assert verified(start)["type"] == "task_started"
    assert verified(end)["data"]["result"] == {"reserve": {"reservation": 7}}
    assert end.delivery_id == delivery_id("s-1/1/3", "hook")
    assert end.headers["User-Agent"].startswith("sagahook/")
    assert end.headers["Content-Type"] == "application/json"
    assert len(receiver.arrivals) == 2


async def test_failures_are_tried_again_by_the_policy_under_the_same_id(
    deployment: Deployment, receiver: Receiver
) -> None:
    receiver.answer("/hook", 500, 503, 200)

    async with deployment.running(hook(receiver, event_types=["task_completed"], retry_policy=[0.05, 0.05])):
        await deployment.log.write("s-1", started("s-1"), COMPLETED)
        arrivals = await receiver.wait_for(3)
        await deployment.wait_until_finished(1)

    (delivery,) = await deployment.deliveries()
    assert delivery["status"] == "succeeded"
    assert {arrival.delivery_id for arrival in arrivals} == {delivery["id"]}
    assert {arrival.body for arrival in arrivals} == {delivery["body"]}
    attempts = await deployment.attempts(delivery["id"])
    assert [(each["attempt"], each["status_code"]) for each in attempts] == [(1, 500), (2, 503), (3, 200)]
    assert [each["error"] for each in attempts] == [
        "the receiver answered 500",
        "the receiver answered 503",
        None,
    ]
    waited = attempts[1]["started_at"] - attempts[0]["started_at"]
    assert waited.total_seconds() >= 0.05


async def test_a_delivery_that_used_up_its_attempts_is_kept_for_a_person(
    deployment: Deployment, receiver: Receiver
) -> None:
    receiver.answer("/hook", 500)

    async with deployment.running(
        hook(receiver, event_types=["task_failed", "task_started"], retry_policy=[0.02])
    ):
        await deployment.log.write("s-1", started("s-1"))
        await deployment.wait_until_finished(1)

    (delivery,) = await deployment.deliveries()
    assert delivery["status"] == "exhausted"
    assert len(receiver.arrivals) == 2


async def test_outcomes_are_published_in_order(deployment: Deployment, receiver: Receiver) -> None:
    receiver.answer("/good", 500, 200)
    receiver.answer("/bad", 500)
    options: dict[str, Any] = {"event_types": ["task_started"], "retry_policy": [0.02]}

    async with deployment.running(hook(receiver, "/good", **options), hook(receiver, "/bad", **options)):
        await deployment.log.write("s-1", started("s-1"))
        announced = await deployment.announced(5)
        await deployment.wait_until("SELECT count(*) = 0 FROM notifier.outbox")

    def of(endpoint: str) -> list[Any]:
        return [event for envelope, event in announced if envelope.subject == endpoint]

    assert [type(event) for event in of("good")] == [DeliveryAttemptFailed, DeliverySucceeded]
    assert [type(event) for event in of("bad")] == [
        DeliveryAttemptFailed,
        DeliveryAttemptFailed,
        DeliveryExhausted,
    ]
    assert of("bad")[0].next_attempt_at is not None
    assert of("bad")[1].next_attempt_at is None
    assert len({envelope.id for envelope, _ in announced}) == 5


async def test_a_replay_of_the_whole_log_sends_nothing_twice(
    deployment: Deployment, receiver: Receiver
) -> None:
    notify = receiver.url + "/caller"
    async with deployment.running(hook(receiver)):
        await deployment.log.write("s-1", started("s-1", notify), done(1), COMPLETED)
        await deployment.log.write("s-2", started("s-2"), COMPLETED, joined("COMPLETED", "late", notify))
        await deployment.wait_until_finished(6)
    before = len(receiver.arrivals)

    for further, forgotten in enumerate(("notifier.offsets", "notifier.offsets, notifier.sagas"), 1):
        await deployment.pool.execute(f"TRUNCATE {forgotten}")
        await deployment.log.write(f"new-{further}", started(f"new-{further}"))
        async with deployment.running(hook(receiver)):
            await deployment.caught_up()
            await deployment.wait_until_finished(before + further)

    assert before == 6
    times_sent = Counter(arrival.delivery_id for arrival in receiver.arrivals)
    assert len(times_sent) == before + 2
    assert set(times_sent.values()) == {1}


async def test_a_slow_receiver_does_not_delay_another(deployment: Deployment, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answer("/slow", hang)
    slow, fast = hook(receiver, "/slow"), hook(receiver, "/fast")
    async with deployment.running(slow, fast, notify_endpoint_concurrency=2, notify_concurrency=6):
        for number in range(10):
            await deployment.log.write(f"s-{number}", started(f"s-{number}"), COMPLETED)
        # The fast one gets everything while the slow one has answered nothing yet.
        await receiver.wait_for(20, "/fast")
        assert len(receiver.at("/slow")) == 2
        release.set()
        await receiver.wait_for(20, "/slow")


async def test_a_notify_url_hears_of_the_end_signed_with_its_sources_secret(
    deployment: Deployment, receiver: Receiver
) -> None:
    async with deployment.running():
        await deployment.log.write("s-1", started("s-1", receiver.url + "/caller?id=1"), COMPLETED)
        (arrival,) = await receiver.wait_for(1, "/caller")
        await deployment.wait_until_finished(1)

    payload = verified(arrival, str(SOURCES["orders"]["secret"]))
    assert payload["type"] == "task_completed"
    assert payload["data"]["correlation_id"] == "of-s-1"


async def test_a_notify_url_that_joins_a_finished_saga_is_told_at_once(
    deployment: Deployment, receiver: Receiver
) -> None:
    async with deployment.running():
        await deployment.log.write("s-1", started("s-1"), done("r"), COMPLETED)
        await deployment.caught_up()
        await deployment.log.write("s-1", joined("COMPLETED", "second", receiver.url + "/caller"))
        (arrival,) = await receiver.wait_for(1, "/caller")

    data = arrival.payload["data"]
    assert data["correlation_id"] == "second"
    assert data["result"] == {"reserve": "r"}


async def test_no_secret_is_in_what_is_stored_of_an_attempt(
    deployment: Deployment, receiver: Receiver
) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers) | {"key": SECRET, "nul": "\0"}, status=200)

    receiver.answer("/hook", echo)
    endpoint = hook(
        receiver, event_types=["task_started"], headers={"Authorization": "Bearer hunter2hunter2"}
    )
    async with deployment.running(endpoint):
        await deployment.log.write("s-1", started("s-1"))
        (arrival,) = await receiver.wait_for(1)
        await deployment.wait_until_finished(1)

    assert arrival.headers["Authorization"] == "Bearer hunter2hunter2"
    (delivery,) = await deployment.deliveries()
    (attempt,) = await deployment.attempts(delivery["id"])
    stored = str(dict(attempt))
    for secret in ("hunter2", SECRET, arrival.headers["webhook-signature"]):
        assert secret not in stored
    assert "[removed]" in attempt["response_excerpt"]


async def test_an_unreadable_record_goes_to_the_dead_letters_and_holds_up_nothing(
    deployment: Deployment, receiver: Receiver
) -> None:
    unknown = [("ce_type", b"sagahook.saga.exploded.v1")]
    async with deployment.running(hook(receiver)):
        await deployment.log.producer.send_and_wait(deployment.log.topic, b"{}", headers=unknown, partition=0)
        await deployment.log.producer.send_and_wait(deployment.log.topic, b"{}", partition=1)
        await deployment.log.write("s-1", started("s-1"))
        await receiver.wait_for(1)
        await deployment.caught_up()

    dead = await deployment.records(SAGA_EVENTS.dead_letters, 2)
    assert {dict(record.headers)["dlqreason"] for record in dead} == {b"the header ce_id is missing"}


async def test_an_endpoint_that_is_no_longer_configured_is_sent_nothing_more(
    deployment: Deployment, receiver: Receiver
) -> None:
    receiver.answer("/old", 500)
    async with deployment.running(hook(receiver, "/old", retry_policy=[60])):
        await deployment.log.write("s-1", started("s-1"))
        await deployment.wait_until("SELECT count(*) = 1 FROM notifier.attempts")
    await deployment.pool.execute("UPDATE notifier.deliveries SET claimable_at = now()")

    async with deployment.running(hook(receiver, "/new")):
        await deployment.log.write("s-2", started("s-2"))
        await receiver.wait_for(1, "/new")
        await asyncio.sleep(0.4)  # the retry is due

    assert len(receiver.at("/old")) == 1
