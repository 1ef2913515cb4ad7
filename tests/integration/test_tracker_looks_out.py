"""A projector that rests goes on as soon as an answer is final."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from sagahook_schemas.sagas import SagaProgressed
from tests.tracker_harness import Tracker, open_tracker
from tests.tracker_log import SagaLog, received, routed

SEEN = "SELECT max(sequence) FROM tracker.runs"

ENDS: dict[str, Callable[[SagaLog], SagaLog]] = {
    "completed": lambda log: log.completed(),
    "rolled back": lambda log: log.rolled_back("charge", "Declined"),
    "failed": lambda log: log.failed("charge", "Declined"),
    "joined by another webhook": lambda log: log.joined("e2", "c2"),
}


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_an_end_ends_a_rest_and_nothing_else_does(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, end: Callable[[SagaLog], SagaLog]
) -> None:
    monkeypatch.setattr("sagahook.runtime.batch_consumer._PATIENCE", 600.0)
    log = SagaLog("s1").started("e1", "c1")
    async with tracker.projecting():
        await tracker.log.write([received("e1", "c1"), routed("e1", "c1", "s1"), *log.written])
        await until_it_rests(tracker, log)

        await tracker.log.write(end(log).written[-1:])
        async with asyncio.timeout(20.0):
            while await tracker.pool.fetchval(SEEN) != len(log.written):
                await asyncio.sleep(0.01)


async def until_it_rests(tracker: Tracker, log: SagaLog) -> None:
    """Until something that nobody waits for was not seen for a second."""
    async with asyncio.timeout(60.0):
        while await tracker.pool.fetchval(SEEN) in (None, len(log.written)):
            await tracker.log.write(log.add(SagaProgressed(progress=0.5, message="half")).written[-1:])
            await asyncio.sleep(1.0)
