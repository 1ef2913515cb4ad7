"""Deliveries over HTTP (api.md §6): how they are shown, found, counted and sent again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest_asyncio

from tests.notifier_api import Api, Kept, open_api, open_kept


@pytest_asyncio.fixture(scope="module")
async def kept(postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[Kept]:
    async with open_kept(postgres_url, kafka_bootstrap) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def api(kept: Kept) -> AsyncIterator[Api]:
    async with open_api(kept.url, notify_recover_rate=2, **kept.log) as opened:
        yield opened


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


async def test_a_delivery_has_the_documented_shape(api: Api, kept: Kept) -> None:
    await api.add(id="shown")
    id = await kept.delivery("shown", "exhausted")

    shown = (await api.get(f"/api/v1/deliveries/{id}")).body

    (attempt,) = shown["attempts"]
    assert attempt.keys() == {
        "attempt",
        "started_at",
        "duration_ms",
        "status_code",
        "error",
        "request_headers",
        "response_headers",
        "response_excerpt",
        "phases",
    }
    assert shown | {"attempts": [], "created_at": "", "finished_at": ""} == {
        "id": id,
        "endpoint_id": "shown",
        "event_id": "s-1/1/1",
        "event_type": "task_completed",
        "task_id": "s-1",
        "run": 1,
        "correlation_id": "c-1",
        "status": "exhausted",
        "attempt_count": 1,
        "next_attempt_at": None,
        "created_at": "",
        "finished_at": "",
        "content_type": "application/json",
        "payload": {"type": "task_completed"},
        "attempts": [],
    }
    (listed,) = (await api.get("/api/v1/endpoints/shown/deliveries")).body
    assert shown.items() >= listed.items()


async def test_deliveries_are_found_by_status_type_and_time(api: Api, kept: Kept) -> None:
    await api.add(id="found")
    old = await kept.delivery("found", "exhausted", hours_ago=30)
    new = await kept.delivery("found", "succeeded")

    async def listed(**query: str) -> list[str]:
        return [
            each["id"]
            for each in (await api.get(f"/api/v1/endpoints/found/deliveries?{urlencode(query)}")).body
        ]

    assert await listed() == [new, old]
    assert await listed(status="exhausted") == [old]
    assert await listed(since=ago(hours=24)) == [new]
    assert await listed(until=ago(hours=24)) == [old]
    assert await listed(event_type="task_failed") == []
    assert await listed(limit="1", offset="1") == [old]


async def test_the_dead_letters_of_all_endpoints_are_listed(api: Api, kept: Kept) -> None:
    await api.add(id="one")
    await api.add(id="two")
    first = await kept.delivery("one", "exhausted", hours_ago=2)
    second = await kept.delivery("two", "exhausted", hours_ago=1)
    alive = await kept.delivery("two", "pending", attempts=0)

    listed = [each["id"] for each in (await api.get(f"/api/v1/deliveries?since={quote(ago(hours=3))}")).body]

    assert [id for id in listed if id in (first, second)] == [second, first]
    assert alive not in listed


async def test_one_is_sent_again_by_its_policy_from_the_beginning(api: Api, kept: Kept) -> None:
    await api.add(id="again")
    for status in ("exhausted", "succeeded", "pending"):
        id = await kept.delivery("again", status, attempts=2)

        said = await api.post(f"/api/v1/deliveries/{id}:resend")

        assert (said.status, said.body) == (202, {"delivery_id": id})
        row = await kept.row(id)
        assert (row["status"], row["attempts"], row["attempts_before"]) == ("pending", 2, 2)
        assert row["claimable_at"] > datetime.now(UTC) - timedelta(seconds=30)
        assert row["finished_at"] is None


async def test_what_is_being_sent_or_has_no_receiver_is_not_sent_again(api: Api, kept: Kept) -> None:
    await api.add(id="busy")
    id = await kept.delivery("busy", "pending", attempts=0)
    await kept.pool.execute(
        "UPDATE notifier.deliveries SET leased_until = now() + interval '1 hour' WHERE id = $1", id
    )
    assert (await api.post(f"/api/v1/deliveries/{id}:resend")).status == 409

    await api.ask("PATCH", "/api/v1/endpoints/busy", {"enabled": False})
    other = await kept.delivery("busy", "exhausted")
    said = await api.post(f"/api/v1/deliveries/{other}:resend")
    assert (said.status, said.body["error"]) == (
        409,
        "the endpoint busy is switched off, so nothing would be sent: enable it first",
    )
    assert (await api.post("/api/v1/endpoints/busy:recover", {"since": ago(hours=1)})).status == 409
    assert (await api.post("/api/v1/deliveries/none:resend")).status == 404
    assert (await api.get("/api/v1/deliveries/none")).status == 404


async def test_what_failed_since_a_time_is_sent_again_so_many_a_second(api: Api, kept: Kept) -> None:
    await api.add(id="back")
    before = await kept.delivery("back", "exhausted", hours_ago=9)
    lost = [await kept.delivery("back", "exhausted", hours_ago=hours) for hours in (3, 2, 1)]
    done = await kept.delivery("back", "succeeded", hours_ago=1)

    said = await api.post("/api/v1/endpoints/back:recover", {"since": ago(hours=4)})

    assert (said.status, said.body) == (202, {"count": 3, "more": False})
    due = [(await kept.row(id))["claimable_at"] for id in lost]
    assert [at - due[0] for at in due] == [timedelta(seconds=seconds) for seconds in (0, 0.5, 1)]
    assert (await kept.row(before))["status"] == "exhausted"
    assert (await kept.row(done))["status"] == "succeeded"
    assert (await api.post("/api/v1/endpoints/back:recover", {"since": ago(hours=4)})).body["count"] == 0


async def test_dead_letters_are_sent_again_of_every_endpoint_that_is_there(api: Api, kept: Kept) -> None:
    for id in ("up", "down"):
        await api.add(id=id)
    sent = await kept.delivery("up", "exhausted", hours_ago=50)
    held = await kept.delivery("down", "exhausted", hours_ago=50)
    await api.ask("PATCH", "/api/v1/endpoints/down", {"enabled": False})

    said = await api.post(
        "/api/v1/deliveries:redrive", {"since": ago(hours=51), "until": ago(hours=49), "rate": 5}
    )

    assert said.body == {"count": 1, "more": False}
    assert (await kept.row(sent))["status"] == "pending"
    assert (await kept.row(held))["status"] == "exhausted"
    only = {"since": ago(hours=51), "endpoint_id": "none"}
    assert (await api.post("/api/v1/deliveries:redrive", only)).status == 404


async def test_statistics_count_what_happened_in_the_last_hours(api: Api, kept: Kept) -> None:
    await api.add(id="counted")
    for _ in range(3):
        await kept.delivery("counted", "succeeded", attempts=2)
    await kept.delivery("counted", "exhausted")
    await kept.delivery("counted", "pending", hours_ago=30, attempts=0)

    shown = (await api.get("/api/v1/endpoints/counted/stats")).body

    assert shown.pop("since")
    assert datetime.fromisoformat(shown.pop("oldest_pending_at")) < datetime.now(UTC) - timedelta(hours=29)
    assert shown == {
        "endpoint_id": "counted",
        "deliveries": {"pending": 0, "succeeded": 3, "exhausted": 1, "cancelled": 0},
        "attempts": {"succeeded": 3, "failed": 4},
        "success_rate": 0.75,
        "latency_ms": {"p50": 10.0, "p95": 20.0},
        "backlog": 1,
        "failures": 0,
        "failing_since": None,
        "paused_until": None,
    }
    assert (await api.get("/api/v1/endpoints/counted/stats?hours=0")).status == 400


async def test_of_an_endpoint_that_was_sent_nothing_there_is_no_rate(api: Api) -> None:
    await api.add(id="quiet")

    shown = (await api.get("/api/v1/endpoints/quiet/stats")).body

    assert (shown["success_rate"], shown["latency_ms"]) == (None, {"p50": None, "p95": None})


async def test_while_the_database_is_away_every_route_says_so() -> None:
    async with open_api("postgresql://nobody@127.0.0.1:1/none") as api:
        for path in ("/api/v1/endpoints", "/api/v1/deliveries", "/api/v1/endpoints/x/stats"):
            said = await api.get(path)
            assert (said.status, said.body["error"]) == (503, "The database is away: try again in a moment")
            assert said.headers["Retry-After"] == "2"
