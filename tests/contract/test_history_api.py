"""How tasks stand, their history, the stream and the figures (api.md §4, §7), on real Kafka and PostgreSQL."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from tests.tracker_harness import Api, Tracker, open_tracker_of_its_own
from tests.tracker_log import SagaLog, Written, received, routed

ADMIN = "an admin's key"
KEYS = {"admin": hashlib.sha256(ADMIN.encode()).hexdigest()}

STATUS = "/api/v1/status"


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own; its projector runs."""
    async with (
        open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker,
        tracker.projecting(),
    ):
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    """Its caller is an admin."""
    async with tracker.api(ADMIN) as api:
        yield api


@pytest.fixture
def log() -> SagaLog:
    unique = uuid.uuid4().hex[:8]
    return SagaLog(f"s-{unique}").started(f"e-{unique}", f"c-{unique}")


def lately(log: SagaLog) -> list[Written]:
    """Its records, the last of them as of now."""
    shift = datetime.now(UTC) - log.written[-1].envelope.time
    return [
        replace(each, envelope=each.envelope._replace(time=each.envelope.time + shift))
        for each in log.written
    ]


async def write(tracker: Tracker, records: list[Written]) -> None:
    await tracker.log.write(records)
    await tracker.until_caught_up()


async def get(api: Api, path: str) -> Any:
    code, body, _ = await api.get(path)
    assert code == 200, body
    return body


@asynccontextmanager
async def watching(api: Api, query: str = "", last: str | None = None) -> AsyncIterator[AsyncIterator[Any]]:
    """(id, data) of each event of the stream; data is None where it only says where it stands."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with api.http.get(f"/api/v1/stream{query}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield events(response)


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    block: dict[str, str] = {}
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            block[name] = value
        elif block:
            yield block["id"], json.loads(block["data"]) if "data" in block else None
            block = {}


async def collect(stream: AsyncIterator[Any], how_many: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(20):
        while len(found) < how_many:
            event_id, data = await anext(stream)
            if data is not None:
                found.append((event_id, data))
    return found


def types(found: list[tuple[str, Any]]) -> list[str]:
    return [data["metadata"]["type"] for _, data in found]


async def test_a_task_has_a_status_and_a_progress(tracker: Tracker, api: Api, log: SagaLog) -> None:
    await write(tracker, log.done("reserve").scheduled("charge").written)
    body = await get(api, f"{STATUS}/{log.saga_id}")
    assert body.keys() >= {
        "status",
        "progress",
        "message",
        "created_at",
        "started_at",
        "updated_at",
        "completed_at",
    }
    assert (body["task_id"], body["status"], body["final"]) == (log.saga_id, "running", False)
    assert body["progress"] == pytest.approx(1 / 3)
    assert (body["started_at"], body["completed_at"]) == ("2026-01-01T00:00:01Z", None)


async def test_a_wait_ends_when_the_task_does(tracker: Tracker, api: Api, log: SagaLog) -> None:
    await write(tracker, log.written)
    waiting = asyncio.create_task(get(api, f"{STATUS}/{log.saga_id}?wait=30"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await tracker.log.write(log.declined().written[1:])
    async with asyncio.timeout(10):
        body = await waiting
    assert (body["status"], body["error_message"], body["final"]) == ("failed", "Declined: too much", True)


async def test_the_history_of_a_task_has_the_newest_first(tracker: Tracker, api: Api, log: SagaLog) -> None:
    await write(tracker, lately(log.done("reserve").completed()))
    body = await get(api, f"{STATUS}/{log.saga_id}/history")
    assert (body["task_id"], body["event_count"]) == (log.saga_id, 4)
    assert all(
        each.keys() >= {"timestamp", "status", "progress", "message", "metadata"} for each in body["history"]
    )
    assert [each["metadata"]["type"] for each in body["history"]] == [
        "saga.completed",
        "step.completed",
        "step.scheduled",
        "saga.started",
    ]
    assert [each["status"] for each in body["history"]] == ["completed", "running", "running", "running"]
    assert (await get(api, f"{STATUS}/{log.saga_id}/history?limit=1"))["event_count"] == 1


async def test_history_is_of_the_last_week_unless_more_is_asked_for(
    tracker: Tracker, api: Api, log: SagaLog
) -> None:
    await write(tracker, log.completed().written)
    assert (await get(api, f"{STATUS}/{log.saga_id}/history"))["event_count"] == 0
    assert (await get(api, f"{STATUS}/{log.saga_id}/history?hours=8760"))["event_count"] == 2


async def test_recent_events_are_of_all_tasks(tracker: Tracker, api: Api, log: SagaLog) -> None:
    other = SagaLog(f"{log.saga_id}-too").started("e", "c").completed()
    await write(tracker, [*lately(log.completed()), *lately(other)])
    body = await get(api, f"{STATUS}/events/recent?hours=1")
    assert body.keys() >= {"events", "count", "hours"}
    assert (body["count"], body["hours"]) == (len(body["events"]), 1)
    assert all(
        each.keys() >= {"task_id", "timestamp", "status", "progress", "message", "metadata"}
        for each in body["events"]
    )
    times = [each["timestamp"] for each in body["events"]]
    assert times == sorted(times, reverse=True)
    assert {log.saga_id, other.saga_id} <= {each["task_id"] for each in body["events"]}


async def test_recent_events_are_a_hundred_at_most(tracker: Tracker, api: Api, log: SagaLog) -> None:
    for number in range(60):
        log.done(f"step-{number}")
    await write(tracker, lately(log))
    assert (await get(api, f"{STATUS}/events/recent"))["count"] == 100


@pytest.mark.parametrize(
    "path",
    [
        f"{STATUS}/x/history?limit=0",
        f"{STATUS}/events/recent?hours=0",
        f"{STATUS}/x?wait=31",
        "/api/v1/stream?after=x",
    ],
)
async def test_a_parameter_that_makes_no_sense_is_400(api: Api, path: str) -> None:
    code, body, _ = await api.get(path)
    assert (code, body["status_code"]) == (400, 400)


async def test_what_happens_is_streamed_as_it_happens(tracker: Tracker, api: Api, log: SagaLog) -> None:
    async with watching(api) as stream:
        _, first = await anext(stream)
        assert first is None
        await tracker.log.write(lately(log.done("reserve").completed()))
        found = await collect(stream, 4)
    assert types(found) == ["saga.started", "step.scheduled", "step.completed", "saga.completed"]
    entry = found[-1][1]
    assert (entry["task_id"], entry["status"], entry["progress"]) == (log.saga_id, "completed", 1.0)
    recent = await get(api, f"{STATUS}/events/recent")
    assert entry in recent["events"]


async def test_a_stream_that_was_cut_goes_on_where_it_was(tracker: Tracker, api: Api, log: SagaLog) -> None:
    async with watching(api) as stream:
        await anext(stream)
        await tracker.log.write(lately(log.done("reserve").completed()))
        seen = await collect(stream, 2)
    further = SagaLog(f"{log.saga_id}-too").started("e", "c").completed()
    await write(tracker, lately(further))
    async with watching(api, last=seen[-1][0]) as stream:
        found = await collect(stream, 4)
    for task_id, happened in ((log.saga_id, "step.completed"), (further.saga_id, "saga.started")):
        mine = [event for event in found if event[1]["task_id"] == task_id]
        assert types(mine) == [happened, "saga.completed"]


async def test_a_stream_goes_on_from_the_recent_events(tracker: Tracker, api: Api, log: SagaLog) -> None:
    recent = await get(api, f"{STATUS}/events/recent")
    await write(tracker, lately(log.completed()))
    async with watching(api, f"?after={recent['stream_position']}") as stream:
        assert types(await collect(stream, 2)) == ["saga.started", "saga.completed"]


@pytest.mark.parametrize("live", [True, False])
async def test_a_stream_can_be_of_one_task_or_of_what_came_under_one_id(
    tracker: Tracker, api: Api, log: SagaLog, live: bool
) -> None:
    other = SagaLog(f"{log.saga_id}-too").started("e", f"{log.correlation_id}-too").completed()
    position = (await get(api, f"{STATUS}/events/recent"))["stream_position"]
    await write(tracker, lately(log)[:1])
    if not live:
        await write(tracker, [*lately(other), *lately(log.completed())[1:]])
    for query in (f"task_id={log.saga_id}", f"correlation_id={log.correlation_id}"):
        async with watching(api, f"?after={position}&{query}") as stream:
            found = await collect(stream, 1 if live else 2)
        assert {data["task_id"] for _, data in found} == {log.saga_id}


async def test_many_watch_and_one_connection_listens(tracker: Tracker, api: Api, log: SagaLog) -> None:
    streams = [watching(api, f"?task_id={log.saga_id}") for _ in range(20)]
    await write(tracker, lately(log)[:1])
    opened = [await stream.__aenter__() for stream in streams]
    for stream in opened:
        await anext(stream)
    admin = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    connections = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    )
    await admin.close()
    await tracker.log.write(lately(log.completed())[1:])
    for stream in opened:
        assert types(await collect(stream, 1)) == ["saga.completed"]
    for each in streams:
        await each.__aexit__(None, None, None)
    assert connections <= 2 * tracker.settings.database_pool + 2  # the listener, and the one that counts


async def test_streams_end_when_the_process_is_to_end(tracker: Tracker) -> None:
    async with tracker.api(ADMIN) as api, watching(api) as stream:
        await anext(stream)
        api.dismiss()
        async with asyncio.timeout(10):
            assert [data async for _, data in stream if data is not None] == []


async def test_the_figures_count_everything_as_it_is_now(tracker: Tracker, api: Api, log: SagaLog) -> None:
    before = await get(api, "/api/v1/metrics")
    assert before.keys() >= {
        "webhook_events_total",
        "workflow_tasks_total",
        "task_executions_total",
        "tasks_by_status",
        "events_by_type",
        "avg_processing_time_ms",
        "success_rate",
    }
    event = log.saga_id.replace("s-", "e-")
    now = datetime.now(UTC) - timedelta(seconds=5)
    await write(
        tracker,
        [
            received(event, log.correlation_id, event_type=event, time=now),
            routed(event, log.correlation_id, log.saga_id),
            *lately(log.declined()),
        ],
    )
    after = await get(api, "/api/v1/metrics")
    assert after["webhook_events_total"] == before["webhook_events_total"] + 1
    assert after["workflow_tasks_total"] == before["workflow_tasks_total"] + 1
    assert after["task_executions_total"] == before["task_executions_total"] + 3
    assert after["tasks_by_status"]["failed"] == before["tasks_by_status"]["failed"] + 1
    assert after["tasks_by_status"].keys() == {"pending", "running", "completed", "failed"}
    assert after["events_by_type"][event] == 1
    assert 0 <= after["success_rate"] < 1
    assert after["avg_processing_time_ms"] > 0


async def test_the_stats_are_of_the_last_day(tracker: Tracker, api: Api, log: SagaLog) -> None:
    old = SagaLog(f"{log.saga_id}-old").started("e", "c").declined()
    await write(tracker, [*lately(log.declined()), *old.written])
    body = await get(api, "/api/v1/admin/stats")
    assert body["recent_activity"].keys() == {"webhooks_24h", "tasks_24h"}
    assert body["error_rates"].keys() == {
        "failed_webhooks_24h",
        "failed_tasks_24h",
        "webhook_error_rate",
        "task_error_rate",
    }
    assert body["error_rates"]["failed_tasks_24h"] >= 1
    assert 0 < body["error_rates"]["task_error_rate"] <= 1


async def test_a_clean_up_is_triggered_and_named(api: Api) -> None:
    code, body, _ = await api.post("/api/v1/admin/cleanup", None)
    assert (code, body["status"]) == (200, "cleanup_triggered")
    assert body["task_id"]


@pytest.mark.parametrize(
    "path",
    [f"{STATUS}/x", f"{STATUS}/events/recent", "/api/v1/stream", "/api/v1/metrics", "/api/v1/admin/stats"],
)
async def test_nothing_is_told_without_a_key(api: Api, path: str) -> None:
    assert (await api.get(path, headers={"Authorization": ""}))[0] == 401
