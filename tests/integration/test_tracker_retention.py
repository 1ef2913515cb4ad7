"""What the views let go of, and that a rebuild and a comparison know it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from sagahook.runtime.database import open_pool
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.rebuilding import Options, rebuild
from sagahook_tracker.retention import Busy, Retention
from sagahook_tracker.verifying import verify
from tests.tracker_harness import KEEP_ALL, Tracker, open_tracker
from tests.tracker_log import T0, SagaLog, received, routed
from tests.tracker_stories import interesting

_DAY = 86_400.0


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


class On:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


async def cleaned(tracker: Tracker, now: datetime) -> dict[str, int]:
    """What is let go as of then."""
    pool = await open_pool(tracker.settings)
    try:
        retention = Retention(pool, load_queries("retention.sql"), tracker.settings.kept, On(now))
        return dict(await retention.clean())
    finally:
        await pool.close()


async def differences(tracker: Tracker) -> list[str]:
    pool = await open_pool(tracker.settings)
    try:
        return [str(difference) for difference in (await verify(tracker.settings, pool)).differences]
    finally:
        await pool.close()


async def test_what_is_old_is_let_go_and_not_written_again(tracker: Tracker) -> None:
    """The log's events are of one day, long before today."""
    tracker = tracker.told_otherwise(keep_history=_DAY, keep_finished=_DAY, keep_rollups=_DAY)
    keeping = tracker.told_otherwise(**KEEP_ALL)
    await tracker.log.write(interesting())
    async with keeping.projecting():
        await tracker.until_caught_up()
    before = await tracker.rows()
    assert {
        key: count for key, count in (await cleaned(tracker, T0 + timedelta(days=3))).items() if count
    } == {
        "days of history": 1,
        "webhooks": 15,
        "runs": 9,
        "rollups": len([row for row in before["rollups"] if row["minute"].year > 1]),
    }
    after = await tracker.rows()
    assert not after["history"]
    assert {row["state"] for row in after["runs"]} == {"EXECUTING", "FAILED"}
    assert {row["number"] for row in after["attributes"]} == {
        row["number"] for row in after["runs"] if row["attributes"]
    }
    assert {row["event_id"] for row in after["webhooks"]} == {
        row["event_id"] for row in after["standings"] if not row["processed"] or row["failed"]
    } - {"e1", "e9", "e17"}
    assert [row for row in before["rollups"] if row["minute"].year == 1] == after["rollups"]
    assert await differences(tracker) == []
    async with keeping.projecting():
        late = SagaLog("s-late").started("e-late", "c-late").done("reserve")
        await tracker.log.write(
            [received("e-late", "c-late"), routed("e-late", "c-late", "s-late"), *late.written]
        )
        await tracker.until_caught_up()
    assert not (await tracker.rows())["history"]
    assert await differences(tracker) == []


@pytest.mark.long
async def test_a_rebuild_lets_go_of_the_same(tracker: Tracker) -> None:
    tracker = tracker.told_otherwise(
        keep_history=_DAY, keep_finished=_DAY, keep_rollups=_DAY, keep_history_rows=2
    )
    await tracker.log.write(interesting())
    async with tracker.projecting():
        await tracker.until_caught_up()
    await cleaned(tracker, datetime.now(UTC))
    before = await tracker.rows()
    await rebuild(tracker.settings, Options(), lambda _: None)
    assert await tracker.rows() == before
    assert before["runs"]


async def test_of_a_long_history_the_newest_events_are_kept(tracker: Tracker) -> None:
    tracker = tracker.told_otherwise(keep_history_rows=3)
    log = SagaLog("s").started("e", "c")
    async with tracker.projecting():
        await _until_cutoff(tracker)
        await tracker.log.write([received("e", "c"), routed("e", "c", "s"), *log.written])
        for number in range(5):
            await tracker.log.write(log.done(f"step-{number}").written[-2:])
            await tracker.until_caught_up()
    assert [row["sequence"] for row in (await tracker.rows())["history"]] == [9, 10, 11]
    assert await differences(tracker) == []


async def _until_cutoff(tracker: Tracker) -> None:
    connection = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    async with asyncio.timeout(10):
        while not await connection.fetchval("SELECT count(*) FROM tracker.cutoffs"):
            await asyncio.sleep(0.02)
    await connection.close()


async def test_one_process_cleans_and_none_waits_for_readers(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagahook_tracker.retention._PAUSE", 0.01)
    monkeypatch.setattr("sagahook_tracker.retention.PATIENCE", "10ms")
    keeping, tracker = tracker, tracker.told_otherwise(keep_history=_DAY)
    await tracker.log.write(interesting(8))
    async with keeping.projecting():
        await tracker.until_caught_up()
    connection: Any = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    async with connection.transaction():
        await connection.fetch("SELECT FROM tracker.history")
        with pytest.raises(Busy, match="a long transaction holds the tables"):
            await cleaned(tracker, T0 + timedelta(days=3))
    await connection.execute("SELECT pg_advisory_lock(hashtext('sagahook.retention'), hashtext('tracker'))")
    assert await cleaned(tracker, T0 + timedelta(days=3)) == {}
    await connection.close()
    assert (await cleaned(tracker, T0 + timedelta(days=3)))["days of history"] == 1
