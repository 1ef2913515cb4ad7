"""Views made anew from the log beside those that serve, put in their place, and compared with the log."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from sagahook.runtime.batches import OffsetOutOfRange
from sagahook.runtime.database import open_pool
from sagahook.runtime.migrations import migrate
from sagahook_schemas.codec import Undecodable
from sagahook_tracker.adapters.schema import MIGRATIONS
from sagahook_tracker.domain.changes import Event
from sagahook_tracker.domain.differences import Report
from sagahook_tracker.filling import Filling, helpers
from sagahook_tracker.handlers import read
from sagahook_tracker.rebuilding import Options, Rebuild, Refused, rebuild
from sagahook_tracker.verifying import verify
from tests.tracker_harness import KEEP_ALL, TABLES, Api, Tracker, open_tracker
from tests.tracker_stories import further, interesting, webhook


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


async def verified(tracker: Tracker) -> Report:
    pool = await open_pool(tracker.settings)
    try:
        return await verify(tracker.settings, pool)
    finally:
        await pool.close()


async def projected(tracker: Tracker) -> dict[str, list[dict[str, Any]]]:
    await tracker.log.write([*interesting(), *further()])
    async with tracker.projecting():
        await tracker.until_caught_up()
    return await tracker.rows()


async def test_a_rebuild_gives_the_same_rows_and_they_are_what_the_log_tells(tracker: Tracker) -> None:
    before = await projected(tracker)
    report = await verified(tracker)
    assert [str(difference) for difference in report.differences] == []
    assert report.compared["webhooks"] == 29
    assert set(report.compared) == set(TABLES) - {"offsets"}
    said: list[str] = []
    await rebuild(tracker.settings, Options(), said.append)
    assert said[-1] == "swapped: the new views serve"
    assert await tracker.rows() == before
    assert await schemas(tracker) == {"tracker"}


@pytest.mark.long
async def test_a_process_that_helps_fills_a_schema_until_its_input_ends(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await projected(tracker)
    for name, value in environment(tracker).items():
        monkeypatch.setenv(name, value)
    url = tracker.settings.database_url.get_secret_value()
    await migrate(url, "tracker_next", MIGRATIONS, written_for="tracker")
    connection = await asyncpg.connect(url)
    async with helpers("tracker_next", 1), asyncio.timeout(60):
        while await connection.fetchval("SELECT count(*) FROM tracker_next.links") < len(before["links"]):
            await asyncio.sleep(0.05)
    await connection.close()


async def test_a_rebuild_goes_on_while_others_read_and_write(tracker: Tracker) -> None:
    """No answer is a 5xx, nothing that was seen is gone again, and no event is lost."""
    await tracker.log.write(interesting())
    async with tracker.projecting(), tracker.projecting(), tracker.api() as api:
        await tracker.until_caught_up()
        done = asyncio.Event()
        reading = [asyncio.create_task(read_until(done, api)) for _ in range(4)]
        writing = asyncio.create_task(write_until(done, tracker))
        await rebuild(tracker.settings, Options(), print)
        done.set()
        written = await writing
        assert sum(await asyncio.gather(*reading)) > 0
        await tracker.until_caught_up()
        for number in written:
            assert (await api.get(f"/webhooks/shop/status/c{number}"))[0] == 200
    report = await verified(tracker)
    assert [str(difference) for difference in report.differences] == []


async def read_until(done: asyncio.Event, api: Api) -> int:
    """How many answers it had; each was good."""
    count = 0
    while not done.is_set():
        for path, field, value in (
            ("/webhooks/shop/status/c0", "status", "completed"),
            ("/webhooks/status/s1", "state", "ROLLED_BACK"),
            ("/webhooks/shop/status/c2?wait=0.05", "status", "triggered"),
        ):
            code, body, _ = await api.get(path)
            assert (code, body.get(field)) == (200, value), body
            count += 1
    return count


async def write_until(done: asyncio.Event, tracker: Tracker) -> list[int]:
    """Their numbers."""
    written: list[int] = []
    while not done.is_set():
        number = 1_000 + len(written)
        await tracker.log.write(webhook(number, number % 8))
        written.append(number)
    return written


@pytest.mark.long
async def test_a_rebuild_that_was_interrupted_is_gone_on_with_or_begun_anew(tracker: Tracker) -> None:
    before = await projected(tracker)
    for resume, word in ((True, "going on where the last rebuild"), (False, "beginning anew")):
        running = asyncio.create_task(rebuild(tracker.settings, Options(), lambda _: None))
        while "tracker_next" not in await schemas(tracker):
            await asyncio.sleep(0.005)
        with pytest.raises(Refused, match="another rebuild of these views is running"):
            await rebuild(tracker.settings, Options(), lambda _: None)
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        said: list[str] = []
        await rebuild(tracker.settings, Options(resume=resume), said.append)
        assert word in said[0]
        assert await tracker.rows() == before


@pytest.mark.long
async def test_the_projectors_are_not_held_up_for_a_filling_that_ended(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await projected(tracker)

    async def ended(*_: object) -> None:
        raise OffsetOutOfRange("the log was cut")

    async def meanwhile(*_: object) -> Report:
        monkeypatch.setattr("sagahook_tracker.filling.project", ended)
        await tracker.log.write(webhook(1_000, 6))
        async with tracker.projecting():
            await tracker.until_caught_up()
        return Report()

    monkeypatch.setattr("sagahook_tracker.rebuilding.verify", meanwhile)
    monkeypatch.setattr("sagahook_tracker.rebuilding.GATE_SECONDS", 0.1)
    monkeypatch.setattr("sagahook_tracker.rebuilding._TRIES", 3)
    tries: list[Filling] = []
    try_to_swap = Rebuild._try_to_swap

    async def counted(rebuilding: Rebuild, filling: Filling) -> None:
        tries.append(filling)
        await try_to_swap(rebuilding, filling)

    monkeypatch.setattr(Rebuild, "_try_to_swap", counted)
    with pytest.raises(OffsetOutOfRange, match="the log was cut"):
        await rebuild(tracker.settings, Options(), lambda _: None)
    assert len(tries) == 1


async def test_what_an_older_version_could_not_read_is_in_the_views_after_a_rebuild(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def could_not(record: ConsumerRecord) -> Event:
        if record.key == b"e1":
            raise Undecodable("nobody knows it yet")
        return read(record)

    await tracker.log.write([*webhook(0, 6), *webhook(1, 6)])
    with monkeypatch.context() as older_version:
        older_version.setattr("sagahook_tracker.handlers.read", could_not)
        async with tracker.projecting():
            await tracker.until_caught_up()
    assert [row["event_id"] for row in (await tracker.rows())["webhooks"]] == ["e0"]
    await rebuild(tracker.settings, Options(), lambda _: None)
    assert [row["event_id"] for row in (await tracker.rows())["webhooks"]] == ["e0", "e1"]
    assert (await verified(tracker)).count == 0


@pytest.mark.long
async def test_what_served_is_kept_where_that_is_asked_for(tracker: Tracker) -> None:
    before = await projected(tracker)
    await rebuild(tracker.settings, Options(keep_old=True), lambda _: None)
    assert await schemas(tracker) == {"tracker", "tracker_old"}
    with pytest.raises(Refused, match="DROP SCHEMA tracker_old"):
        await rebuild(tracker.settings, Options(), lambda _: None)
    assert await tracker.rows() == before


SEEDED = {
    "UPDATE tracker.runs SET state = 'PENDING' WHERE saga_id = 's0'": (
        "runs (s0, 1): state is 'PENDING', but the log says 'COMPLETED'"
    ),
    "DELETE FROM tracker.webhooks WHERE event_id = 'e1'": (
        "webhooks (e1): the row is missing; the log tells of it"
    ),
    "INSERT INTO tracker.links SELECT 'e1', 's-unheard-of', 1, 'c', now()": (
        "links (e1, s-unheard-of, 1): the row is there, but the log tells nothing of it"
    ),
    "UPDATE tracker.standings SET open = 1 WHERE event_id = 'e0'": (
        "standings (e0): open is 1, but the log says 0"
    ),
    "UPDATE tracker.history SET progress = 0.9 WHERE saga_id = 's2' AND sequence = 2": (
        "progress is 0.9, but the log says 0.0"
    ),
    "UPDATE tracker.attributes SET word = '8' WHERE attribute = 'pr'": (", pr): word is "),
    "DELETE FROM tracker.attempts WHERE saga_id = 's2' AND attempt = 2": (
        "attempts (s2, 1, reserve, action, 2): the row is missing"
    ),
    "UPDATE tracker.rollups SET count = 4 WHERE (kind, outcome) = ('saga', 'failed') AND minute > '-infinity'": (
        "saga, shop, order, failed): count is 4, but the log says 3"
    ),
    "UPDATE tracker.routes SET reason = 'a secret' WHERE event_id = 'e6'": "routes (e6, ",
    "UPDATE tracker.controls SET paused = FALSE": "controls (source, shop): paused is False, but the log says True",
    "UPDATE tracker.offsets SET next_offset = 1000 WHERE topic LIKE '%.received' AND partition = 0": (
        "webhooks.received-0): next_offset is 1000, but the log says "
    ),
    "DELETE FROM tracker.definitions": "definitions (order, 3): the row is missing",
    "DELETE FROM tracker.asked WHERE event_id = 'e3'": "asked (s3, e3): the row is missing",
    "CREATE TABLE tracker.new ()": "new (the table): the row is there",
}


async def test_each_difference_is_named_and_no_text_that_may_be_secret(tracker: Tracker) -> None:
    await projected(tracker)
    connection = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    for statement in SEEDED:
        assert await connection.execute(statement) != "UPDATE 0", statement
    await connection.close()
    code, told = await sagahook(tracker, "verify")
    assert code == 1
    for statement, difference in SEEDED.items():
        assert difference in told, statement
    assert "runs (all that are COMPLETED): count is" in told
    assert "a secret" not in told


async def schemas(tracker: Tracker) -> set[str]:
    connection = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    try:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tracker%'")
        return {row["nspname"] for row in rows}
    finally:
        await connection.close()


def environment(tracker: Tracker) -> dict[str, str]:
    """What the tracker's commands are told by."""
    return {
        "SAGAHOOK_KAFKA": tracker.settings.kafka,
        "SAGAHOOK_TOPIC_PREFIX": tracker.settings.topic_prefix,
        "DATABASE_URL": tracker.settings.database_url.get_secret_value(),
        **{f"SAGAHOOK_{name.upper()}": str(value) for name, value in KEEP_ALL.items()},
    }


async def sagahook(tracker: Tracker, *arguments: str) -> tuple[int | None, str]:
    """The exit code of `sagahook tracker …`, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "tracker", *arguments),
        env={**os.environ, **environment(tracker)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
