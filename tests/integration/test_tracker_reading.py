"""Answers that are never older than the question, and clients that wait for them, on real parts."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio

from tests.tracker_harness import Api, Tracker, Wire, open_tracker_of_its_own
from tests.tracker_log import SagaLog, Written, received, routed


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own. No projector runs but for those they start."""
    async with open_tracker_of_its_own(kafka_bootstrap, postgres_url) as tracker:
        yield tracker


@pytest_asyncio.fixture(scope="module")
async def api(tracker: Tracker) -> AsyncIterator[Api]:
    async with tracker.api() as api:
        yield api


def story(name: str) -> list[Written]:
    """A webhook whose saga completes."""
    log = SagaLog(f"s-{name}").started(f"e-{name}", f"c-{name}").done("reserve").completed()
    return [received(f"e-{name}", f"c-{name}"), routed(f"e-{name}", f"c-{name}", f"s-{name}"), *log.written]


async def test_what_was_written_is_read_at_once(tracker: Tracker, api: Api) -> None:
    """A GET right after the 202 is never 404."""
    async with tracker.projecting():
        for number in range(10):
            name = f"ryw-{number}"
            await tracker.log.write(story(name))
            assert (await api.get(f"/webhooks/shop/status/c-{name}"))[0] == 200
            assert (await api.get(f"/webhooks/status/s-{name}"))[0] == 200


async def test_while_the_projector_stands_still_the_answer_is_503_and_never_404(
    tracker: Tracker, api: Api
) -> None:
    await tracker.log.write(story("still"))
    paths = ("/webhooks/shop/status/c-still", "/webhooks/status/s-still", "/webhooks/shop/status/unheard-of")
    for code, body, headers in await asyncio.gather(*(api.get(path) for path in paths)):
        assert (code, headers["Retry-After"]) == (503, "1")
        assert "records behind the log" in body["error"]
    async with tracker.projecting():
        await tracker.until_caught_up()
        assert (await api.get("/webhooks/shop/status/c-still"))[0] == 200
        assert (await api.get("/webhooks/shop/status/unheard-of"))[0] == 404


async def test_a_wait_ends_as_soon_as_the_status_is_final(tracker: Tracker, api: Api) -> None:
    records = story("wait")
    async with tracker.projecting():
        await tracker.log.write(records[:1])
        waiting = asyncio.create_task(api.status("c-wait", wait=30))
        for record in records[1:]:
            await asyncio.sleep(0.02)
            assert not waiting.done()
            await tracker.log.write([record])
        async with asyncio.timeout(10):
            assert (await waiting)["status"] == "completed"


async def test_a_wait_whose_time_is_up_tells_how_far_it_is(tracker: Tracker, api: Api) -> None:
    async with tracker.projecting():
        await tracker.log.write(story("slow")[:-1])
        began = time.monotonic()
        body = await api.status("c-slow", wait=0.5)
        assert (body["status"], body["final"]) == ("triggered", False)
        assert time.monotonic() - began >= 0.5


async def test_waits_end_for_whatever_makes_the_status_final(tracker: Tracker, api: Api) -> None:
    """The end of a saga that another webhook started, joining one that has ended, and no saga at all."""
    shared = SagaLog("s-shared").started("e-first", "c-first").joined("e-joined", "c-joined").completed()
    log = [*shared.written, *shared.joined("e-late", "c-late", state="COMPLETED").written[-1:]]
    names = ("first", "joined", "late")
    async with tracker.projecting():
        await tracker.log.write([received(f"e-{name}", f"c-{name}") for name in (*names, "ignored")])
        waiting = [asyncio.create_task(api.status(f"c-{name}", wait=30)) for name in (*names, "ignored")]
        await tracker.log.write([routed(f"e-{name}", f"c-{name}", "s-shared") for name in names])
        await tracker.until_caught_up()
        for record in log:
            await tracker.log.write([record])
            await tracker.until_caught_up()
        await tracker.log.write([routed("e-ignored", "c-ignored", reason="nobody wants it")])
        async with asyncio.timeout(10):
            bodies: list[Any] = await asyncio.gather(*waiting)
    assert [body["status"] for body in bodies] == ["completed", "completed", "completed", "ignored"]


async def test_more_ends_at_once_than_a_notification_can_name_wake_everybody(
    tracker: Tracker, api: Api
) -> None:
    names = [f"many-{number:04}" for number in range(500)]
    stories = [story(name) for name in names]
    async with tracker.projecting():
        await tracker.log.write([record for each in stories for record in each[:1]])
        waiting = [asyncio.create_task(api.status(f"c-{name}", wait=30)) for name in names[::50]]
        await tracker.until_caught_up()
        await tracker.log.write([record for each in stories for record in each[1:]])
        async with asyncio.timeout(20):
            assert {body["status"] for body in await asyncio.gather(*waiting)} == {"completed"}


async def test_however_many_wait_one_connection_listens(tracker: Tracker, api: Api) -> None:
    admin = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    async with tracker.projecting():
        await tracker.log.write([received("e-crowd", "c-crowd")])
        await tracker.until_caught_up()
        waiting = [asyncio.create_task(api.status("c-crowd", wait=30)) for _ in range(90)]
        await asyncio.sleep(0.5)
        connections = await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        await tracker.log.write([routed("e-crowd", "c-crowd", reason="nobody wants it")])
        async with asyncio.timeout(20):
            assert {body["status"] for body in await asyncio.gather(*waiting)} == {"ignored"}
    await admin.close()
    pools = 2 * tracker.settings.database_pool
    assert connections <= pools + 2  # the listener, and the one that counts


async def test_without_postgresql_it_is_503_and_later_it_answers_again(tracker: Tracker) -> None:
    wire = Wire(tracker.settings.database_url.get_secret_value())
    await wire.mend()
    records = story("cut")
    async with tracker.projecting(), tracker.told_otherwise(database_url=wire.url).api() as api:
        await tracker.log.write(records[:-1])
        await tracker.until_caught_up()
        await api.status("c-cut")  # connects: what waits then waits for news alone
        waiting = asyncio.create_task(api.status("c-cut", wait=30))
        await asyncio.sleep(0.5)
        await wire.cut()
        code, body, headers = await api.get("/webhooks/shop/status/c-cut")
        assert (code, headers["Retry-After"]) == (503, "1")
        assert body["error"].startswith("PostgreSQL is away")
        assert (await api.get("/health"))[1]["checks"] == {"postgresql": "degraded"}
        await tracker.log.write(records[-1:])
        await wire.mend()
        async with asyncio.timeout(10):  # also the one that waited all the time
            assert (await waiting)["status"] == "completed"
        assert (await api.status("c-cut"))["status"] == "completed"
    await wire.cut()


async def test_without_kafka_known_ids_are_answered_and_unknown_ones_are_503(tracker: Tracker) -> None:
    async with tracker.projecting():
        await tracker.log.write(story("known"))
        await tracker.until_caught_up()
    async with tracker.told_otherwise(kafka="127.0.0.1:1").api() as api:
        assert (await api.status("c-known"))["status"] == "completed"
        code, body, headers = await api.get("/webhooks/shop/status/unheard-of")
        assert (code, headers["Retry-After"]) == (503, "1")
        assert body["error"].startswith("Kafka at 127.0.0.1:1 does not say where its log ends")


async def test_before_its_tables_are_made_it_is_503_and_says_what_to_run(
    tracker: Tracker, empty_database_url: str
) -> None:
    async with tracker.told_otherwise(database_url=empty_database_url).api() as api:
        code, body, _ = await api.get("/webhooks/shop/status/x")
        assert code == 503
        assert "run this service's `migrate` first" in body["error"]
