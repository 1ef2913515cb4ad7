"""What a subject sent is sealed in every log that is kept, and gone from all of them when its key is deleted."""

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from orjson import dumps, loads

from sagahook.runtime.erasure import DataKeys
from sagahook.runtime.erasure_answers import opened_text
from sagahook.runtime.erasure_crypto import KeyEncryption, WrongKey
from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.commands import CancelSaga, RetrySaga
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.topics import (
    AUDIT,
    ERASURE_KEYS,
    SAGA_EVENTS,
    SAGA_STATE,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
)
from sagahook_schemas.webhooks import request_headers
from tests.ingest_harness import ServedIngest, serving, settings_for
from tests.runner_harness import PARTITIONS, RunnerHarness, poll
from tests.runner_log import assert_fold_is_snapshots, following, put_command, whole_topic
from tests.tracker_harness import Api, open_tracker

FIRST, SECOND = (b64encode(os.urandom(32)).decode() for _ in range(2))
KEPT = (WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, SAGA_EVENTS, SAGA_STATE, ERASURE_KEYS)
SOURCES = {"effects": Source(erasure="subject:user.id")}


@pytest_asyncio.fixture
async def runners(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunnerHarness]:
    monkeypatch.setenv("FIRST_KEY", FIRST)
    monkeypatch.setenv("SECOND_KEY", SECOND)
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    settings = {"SAGAHOOK_ERASURE_KEY": "env:FIRST_KEY", "FIRST_KEY": FIRST}
    harness = RunnerHarness(kafka_bootstrap, topic_prefix, tmp_path, settings=settings)
    yield harness
    await harness.stop()


@asynccontextmanager
async def ingest(runners: RunnerHarness) -> AsyncIterator[ServedIngest]:
    settings = settings_for(runners.bootstrap, runners.prefix, sources=SOURCES, erasure_key="env:FIRST_KEY")
    async with serving(settings) as served:
        yield served


@asynccontextmanager
async def data_keys(runners: RunnerHarness, references: str = "env:FIRST_KEY") -> AsyncIterator[DataKeys]:
    keys = DataKeys(KeyEncryption.of(references, os.environ), runners.bootstrap, runners.prefix, PARTITIONS)
    running = asyncio.create_task(keys.run())
    await keys.caught_up.wait()
    yield keys
    running.cancel()
    await asyncio.wait({running})


async def send(served: ServedIngest, number: int, user: str, **further: Any) -> None:
    body = {"id": number, "user": {"id": user}, "note": f"secret-of-{user}", **further}
    answer = await served.post("/webhooks/effects", dumps(body), {"X-Who": f"header-of-{user}"})
    assert answer.status == 202, answer.body


async def written(runners: RunnerHarness) -> bytes:
    """Every byte of every record that is kept."""
    found = []
    for topic in KEPT:
        async with whole_topic(runners, topic.name(runners.prefix)) as records:
            for record in records:
                found += [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
    return b"\n".join(found)


async def contexts(runners: RunnerHarness, keys: DataKeys) -> dict[str, Any]:
    """Of each run, by the saga's id, as whoever has the keys reads it."""
    found = {}
    async with whole_topic(runners, SAGA_EVENTS.name(runners.prefix)) as records:
        for record in records:
            envelope = Envelope.from_headers(record.headers)
            if envelope.type == "sagahook.saga.started.v1":
                found[envelope.saga_id] = loads(await opened_text(keys, record.value))["context"]
    return found


async def bodies(runners: RunnerHarness, keys: DataKeys) -> list[tuple[Any, Any]]:
    """Of each webhook its body and its headers."""
    found = []
    async with whole_topic(runners, WEBHOOKS_RECEIVED.name(runners.prefix)) as records:
        for record in records:
            key = Envelope.from_headers(record.headers).extension("erasurekey")
            body = await keys.open_body(key, record.value)
            headers = loads(await opened_text(keys, dumps(request_headers(record.headers))))
            found.append((body and loads(body), headers))
    return found


async def test_what_was_sent_is_nowhere_in_the_clear_and_unreadable_once_its_key_is_deleted(
    runners: RunnerHarness,
) -> None:
    await runners.start_runner()
    async with ingest(runners) as served, data_keys(runners) as keys:
        await asyncio.gather(
            send(served, 1, "ada"), send(served, 2, "ada", fail=True), send(served, 3, "bob")
        )
        async with following(runners) as log:
            await log.until_ended(3)
        everything = await written(runners)
        for clear in (b"secret-of", b"header-of", b"told to fail", b'"did"'):
            assert clear not in everything
        assert {each["note"] for each in (await contexts(runners, keys)).values()} == {
            "secret-of-ada",
            "secret-of-bob",
        }
        assert {headers["x-who"] for _, headers in await bodies(runners, keys)} == {
            "header-of-ada",
            "header-of-bob",
        }

        assert await keys.erase("effects", "ada") >= 1
        assert await keys.erase("effects", "nobody") == 0
        async with data_keys(runners) as later:
            readable = await contexts(runners, later)
            assert sorted(map(str, readable.values())) == sorted(
                ["{'erased': True}", "{'erased': True}", str(readable_bob(readable))]
            )
            read = [body for body, _ in await bodies(runners, later)]
            assert read.count(None) == 2
            assert [each["user"]["id"] for each in read if each] == ["bob"]

        await send(served, 4, "ada")
        async with following(runners) as log:
            await log.until_ended(4)
        assert sum(each.get("id") == 4 for each in (await contexts(runners, keys)).values()) == 1
        assert await keys.erase("effects", None) == 2  # bob's, and ada's new one


def readable_bob(readable: dict[str, Any]) -> Any:
    (found,) = [each for each in readable.values() if each != {"erased": True}]
    assert found["note"] == "secret-of-bob"
    return found


async def test_a_saga_that_runs_is_suspended_stays_so_over_a_restart_and_can_only_be_cancelled(
    runners: RunnerHarness,
) -> None:
    first = await runners.start_runner(STEP_SECONDS="4")
    async with ingest(runners) as served, data_keys(runners) as keys, following(runners) as log:
        await send(served, 1, "ada")
        await runners.wait_for_effects(1)
        await keys.erase("effects", "ada")
        await log.until_count("saga.suspended")
        (suspended,) = [each for each in log.events if each.kind == "saga.suspended"]
        assert suspended.data["cause"] == "erased"
        assert "its data was erased" in suspended.data["reason"]
        first.kill()
        await first.wait()
        await runners.start_runner()
        saga_id = suspended.envelope.saga_id
        await put_command(runners, saga_id, RetrySaga(actor="ada"))
        await log.until_count("saga.command_refused")
        assert "its data was erased" in log.events[-1].data["why"]
        await put_command(runners, saga_id, CancelSaga(actor="ada"))
        await log.until_ended(1)
        log.assert_sound()
        assert b"secret-of" not in await written(runners)


@pytest.mark.long
async def test_a_runner_that_starts_after_the_erasure_suspends_what_it_finds(runners: RunnerHarness) -> None:
    first = await runners.start_runner(STEP_SECONDS="30")
    async with ingest(runners) as served, data_keys(runners) as keys, following(runners) as log:
        await send(served, 1, "ada")
        await send(served, 2, "bob")
        await runners.wait_for_effects(2)
        first.kill()
        await first.wait()
        await keys.erase("effects", "ada")
        await runners.start_runner()
        await log.until_count("saga.suspended")
        await log.until_count("saga.completed")
        (done,) = [each for each in log.events if each.kind == "saga.completed"]
        assert (await contexts(runners, keys))[done.envelope.saga_id]["note"] == "secret-of-bob"


@pytest.mark.long
async def test_a_webhook_that_was_not_routed_yet_ends_failed_and_says_why(runners: RunnerHarness) -> None:
    async with ingest(runners) as served, data_keys(runners) as keys:
        await send(served, 1, "ada")
        await keys.erase("effects", "ada")
    await runners.start_runner()
    async with runners.reader(WEBHOOKS_ROUTED) as consumer, asyncio.timeout(20):
        while not (routed := await poll(consumer)):
            pass
    assert routed[0].data["outcome"] == "failed"
    assert "its data was erased" in routed[0].data["reason"]


async def test_snapshots_of_what_is_sealed_are_the_fold_of_its_log(runners: RunnerHarness) -> None:
    runner = await runners.start_runner(STEP_SECONDS="0.2")
    async with ingest(runners) as served, following(runners) as log:
        await send(served, 1, "ada", fail=True)
        await log.until_ended(1)
    runner.kill()
    await runner.wait()
    async with data_keys(runners) as keys:
        assert await assert_fold_is_snapshots(runners, partial(opened_text, keys)) == 1
        await keys.erase("effects", "ada")
    async with data_keys(runners) as keys:
        assert await assert_fold_is_snapshots(runners, partial(opened_text, keys)) == 1


@pytest.mark.long
async def test_what_only_looks_sealed_stays_a_senders_text_over_a_restart(runners: RunnerHarness) -> None:
    without = {"SAGAHOOK_ERASURE_KEY": ""}
    forged = f"sealed:1:{'0' * 32}:AAAA"
    first = await runners.start_runner(STEP_SECONDS="30", **without)
    await runners.publish([{"id": 1, "note": forged, "more": {"$sealed": forged}}])
    await runners.wait_for_effects(1)
    first.kill()
    await first.wait()
    await runners.start_runner(**without)
    async with following(runners) as log:
        await log.until_count("saga.completed")
    assert await assert_fold_is_snapshots(runners) == 0
    assert forged.encode() in await written(runners)


@pytest.mark.long
async def test_the_deployments_key_is_replaced_without_a_pause(runners: RunnerHarness) -> None:
    async with ingest(runners) as served:
        await send(served, 1, "ada")
    async with data_keys(runners, "env:SECOND_KEY,env:FIRST_KEY") as both:
        assert (await bodies(runners, both))[0][0]["user"]["id"] == "ada"
        assert await both.rewrap() == 1
        assert await both.rewrap() == 0
    async with data_keys(runners, "env:SECOND_KEY") as new:
        assert (await bodies(runners, new))[0][0]["user"]["id"] == "ada"
    async with data_keys(runners, "env:FIRST_KEY") as old:
        with pytest.raises(WrongKey, match="SAGAHOOK_ERASURE_KEY"):
            await bodies(runners, old)


async def test_views_hold_it_sealed_and_the_api_tells_it_until_it_is_erased(
    runners: RunnerHarness, database_url: str
) -> None:
    key = "an admin's key"
    settings = {"api_keys": {"admin": sha256(key.encode()).hexdigest()}, "erasure_key": "env:FIRST_KEY"}
    await runners.start_runner()
    async with (
        open_tracker(runners.bootstrap, runners.prefix, database_url, PARTITIONS, **settings) as tracker,
        tracker.projecting(),
        tracker.api(key) as api,
        ingest(runners) as served,
    ):
        await send(served, 1, "ada", fail=True)
        event, saga, history, timeline = await told(api)
        assert event["payload"]["note"] == "secret-of-ada"
        assert event["headers"]["x-who"] == "header-of-ada"
        assert saga["context"]["note"] == "secret-of-ada"
        assert "told to fail" in saga["error"]
        assert "told to fail" in str(timeline)
        views = str(await tracker.rows())
        assert "told to fail" not in views
        assert "of-ada" not in views

        code, answer, _ = await api.post(
            "/api/v1/erasure",
            {"source": "effects", "subject": "ada", "actor": "dpo", "reason": "asked for it"},
        )
        assert (code, answer) == (202, {"erased": 1})
        event, saga, history, timeline = await told(api)
        assert event["payload"] == {"erased": True}
        assert event["headers"] == {"erased": True}
        assert saga["context"] == {"erased": True}
        assert saga["error"] == "[erased]"
        assert saga["state"] == "ROLLED_BACK"
        assert "told to fail" not in str(timeline) + str(history)
        assert event["event_type"] is not None
    async with whole_topic(runners, AUDIT.name(runners.prefix)) as records:
        (act,) = [loads(record.value) for record in records]
    assert (act["target"], act["outcome"]) == ("effects, one subject", "done")


async def told(api: Api) -> tuple[Any, Any, Any, Any]:
    """The only event, its only saga, the saga's history, and the timeline, as the API has them."""
    async with asyncio.timeout(20):
        while True:
            _, events, _ = await api.get("/api/v1/webhooks/events")
            if events and events[0]["processed"]:
                break
            await asyncio.sleep(0.1)
    _, event, _ = await api.get(f"/api/v1/webhooks/events/{events[0]['id']}")
    correlation_id = event["correlation_id"]
    status = await api.status(correlation_id, "effects", wait=20)
    (saga_id,) = status["saga_ids"]
    _, saga, _ = await api.get(f"/webhooks/status/{saga_id}")
    _, history, _ = await api.get(f"/api/v1/status/{saga_id}/history")
    _, timeline, _ = await api.get(f"/api/v1/correlations/{correlation_id}/timeline")
    return event, saga, history, timeline


async def test_without_the_key_a_webhook_that_is_to_be_sealed_is_not_taken(runners: RunnerHarness) -> None:
    async with serving(settings_for(runners.bootstrap, runners.prefix, sources=SOURCES)) as served:
        answer = await served.post("/webhooks/effects", b'{"id": 1, "user": {"id": "ada"}}')
    assert answer.status == 503
    assert "SAGAHOOK_ERASURE_KEY" in answer.body["error"]
