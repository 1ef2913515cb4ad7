"""Reading one's own writes from the routes of api.md §3 and §4: several replicas, a projector that stands still, and
PostgreSQL that goes away."""

import asyncio
import hashlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle

import pytest
import pytest_asyncio

from sagahook_schemas.identity import webhook_task_id
from tests.processes import halted
from tests.tracker_harness import Api, Tracker, Wire, open_tracker_of_its_own
from tests.tracker_log import SagaLog, received, routed

KEY = "a reader's key"
KEYS = {"reader": hashlib.sha256(KEY.encode()).hexdigest()}
POSTS = 300


@pytest_asyncio.fixture(scope="module")
async def tracker(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Tracker]:
    """One for all tests, each of which has ids of its own. No projector runs but for those they start."""
    async with open_tracker_of_its_own(kafka_bootstrap, postgres_url, api_keys=KEYS) as tracker:
        yield tracker


@asynccontextmanager
async def projector_process(tracker: Tracker) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "SAGAHOOK_KAFKA": tracker.settings.kafka,
        "SAGAHOOK_TOPIC_PREFIX": tracker.settings.topic_prefix,
        "LOG_LEVEL": "ERROR",
        "DATABASE_URL": tracker.settings.database_url.get_secret_value(),
    }
    command = (sys.executable, "-m", "sagahook_tracker", "project")
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        await process.wait()


def questions(number: int) -> tuple[str, ...]:
    """What may be asked for as soon as the webhook of that number is accepted."""
    return (
        f"/webhooks/shop/status/c-{number}",
        f"/api/v1/webhooks/events/e-{number}",
        f"/api/v1/tasks/{webhook_task_id('shop', f'd-{number}')}",
        f"/api/v1/status/e-{number}",
    )


async def post_and_ask(tracker: Tracker, api: Api, number: int) -> Counter[int]:
    """The answers' codes, asked for as soon as the log has the webhook."""
    await tracker.log.write([received(f"e-{number}", f"c-{number}", delivery_id=f"d-{number}")])
    return Counter([(await api.get(path))[0] for path in questions(number)])


@pytest.mark.long
async def test_an_answer_right_after_the_post_is_never_404_also_while_the_projector_stands_still(
    tracker: Tracker,
) -> None:
    codes: Counter[int] = Counter()
    numbers = iter(range(POSTS))
    async with (
        tracker.api(KEY) as one,
        tracker.api(KEY) as two,
        projector_process(tracker) as process,
    ):
        replicas = cycle((one, two))
        await tracker.log.write([received("e-first", "c-first")])
        await tracker.until_caught_up()

        async def work() -> None:
            for number in numbers:
                codes.update(await post_and_ask(tracker, next(replicas), number))

        async def stop_and_go() -> None:
            while codes.total() < POSTS:  # a quarter of all questions
                await asyncio.sleep(0.01)
            with halted(process.pid):
                while not codes[503]:
                    await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            await asyncio.gather(stop_and_go(), *(work() for _ in range(8)))
        await tracker.until_caught_up()
        for number in range(0, POSTS, 50):
            assert [(await next(replicas).get(path))[0] for path in questions(number)] == [200] * 4
    assert set(codes) == {200, 503}
    assert codes.total() == POSTS * 4


async def test_two_replicas_that_each_answer_half_of_the_reads_say_the_same(tracker: Tracker) -> None:
    log = SagaLog("s-half").started("e-half", "c-half").done("reserve").completed()
    paths = ("/webhooks/shop/status/c-half", "/api/v1/tasks/s-half", "/api/v1/status/s-half")
    async with tracker.api(KEY) as one, tracker.api(KEY) as two, tracker.projecting():
        # A saga that is asked for by its id must have begun.
        begun, *rest = log.written
        await tracker.log.write([received("e-half", "c-half"), routed("e-half", "c-half", "s-half"), begun])
        waiting = [
            asyncio.create_task(api.get("/api/v1/status/s-half?wait=30"))
            for api in (one, two)
            for _ in range(5)
        ]
        await tracker.log.write(rest)
        async with asyncio.timeout(20):
            assert {(await each)[1]["status"] for each in waiting} == {"completed"}
        for path in paths:
            (code, body, headers), (_, other, also) = await one.get(path), await two.get(path)
            assert (code, body) == (200, other)
            assert headers.get("etag") == also.get("etag")
        _, event, _ = await one.get("/api/v1/webhooks/events/e-half")
        assert event["processed"]
        assert (await two.get(f"/api/v1/webhooks/events/{event['id']}"))[1] == event


async def test_while_postgresql_is_away_every_route_says_so_and_then_answers_again(tracker: Tracker) -> None:
    wire = Wire(tracker.settings.database_url.get_secret_value())
    await wire.mend()
    paths = (
        "/api/v1/webhooks/events",
        "/api/v1/webhooks/events/e-away",
        "/api/v1/tasks",
        "/api/v1/tasks/s-away",
        "/api/v1/status/s-away",
        "/api/v1/status/s-away/history",
        "/api/v1/status/events/recent",
        "/api/v1/metrics",
    )
    log = SagaLog("s-away").started("e-away", "c-away")
    async with tracker.projecting(), tracker.told_otherwise(database_url=wire.url).api(KEY) as api:
        await tracker.log.write(
            [received("e-away", "c-away"), routed("e-away", "c-away", "s-away"), *log.written]
        )
        await tracker.until_caught_up()
        assert {(await api.get(path))[0] for path in paths} == {200}
        await wire.cut()
        for path in paths:
            code, body, headers = await api.get(path)
            assert (code, headers["Retry-After"]) == (503, "1"), path
            assert body["error"].startswith("PostgreSQL is away")
        await wire.mend()
        async with asyncio.timeout(20):
            while {(await api.get(path))[0] for path in paths} != {200}:
                await asyncio.sleep(0.05)
    await wire.cut()
