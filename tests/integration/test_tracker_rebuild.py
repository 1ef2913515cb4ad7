"""Views made anew from the log beside those that serve, put in their place, and compared with the log."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from sagahook.runtime.database import open_pool
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.sagas import SagaProgressed, SagaResumed, SagaSuspended
from sagahook_tracker.domain.differences import Report
from sagahook_tracker.rebuilding import Options, Refused, rebuild
from sagahook_tracker.verifying import verify
from tests.tracker_harness import Tracker, open_tracker
from tests.tracker_log import SagaLog, Written, controlled, deployed, received, routed


@pytest_asyncio.fixture
async def tracker(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Tracker]:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as opened:
        yield opened


def webhook(number: int, kind: int) -> list[Written]:
    """One webhook and what it brought about: an end of each kind, retries, a join, a child, nothing, no route yet."""
    event, saga, cid = f"e{number}", f"s{number}", f"c{number}"
    log = SagaLog(saga).started(event, cid, order=number)
    match kind:
        case 0:
            log.done("reserve", "charge", "ship").completed()
        case 1:
            log.declined()
        case 2:
            log.scheduled("reserve").failed_attempt("reserve", "Timeout: slow").retry("reserve", 2)
            log.scheduled("reserve", attempt=2).awaiting("reserve", "approval")
        case 3:
            log.done("reserve").scheduled("charge").failed_attempt("charge", "no").compensating("charge", "no")
            log.failed("charge", "no", "reserve")
        case 4:
            log.done("reserve").completed().joined(f"{event}-again", f"{cid}-again", state="COMPLETED")
            again = [received(f"{event}-again", f"{cid}-again"), routed(f"{event}-again", f"{cid}-again", saga)]
            return [received(event, cid), routed(event, cid, saga), *again, *log.written]
        case 5:
            child = SagaLog(f"{saga}-child").started_with(
                parent=ParentStep(saga_id=saga, run=1, step="ship"), event_id=event, correlation_id=cid
            )
            log.add(SagaSuspended(reason="lost", cause="losses")).add(SagaResumed(actor="ada", reason="fixed"))
            log.add(SagaProgressed(progress=0.5, message="half"))
            return [received(event, cid), routed(event, cid, saga), *log.written, *child.done("pack").written]
        case 6:
            return [received(event, cid), routed(event, cid, reason="nobody wants it")]
        case 7:
            return [received(event, cid)]
    return [received(event, cid), routed(event, cid, saga), *log.written]


def interesting(count: int = 24, first: int = 0) -> list[Written]:
    definition = SagaDefinition(name="order", version=3, triggers=(), steps=())
    return [
        deployed(definition),
        controlled("source", "shop", True),
        *chain.from_iterable(webhook(number, number % 8) for number in range(first, first + count)),
    ]


async def verified(tracker: Tracker) -> Report:
    pool = await open_pool(tracker.settings)
    try:
        return await verify(tracker.settings, pool)
    finally:
        await pool.close()


async def projected(tracker: Tracker) -> dict[str, list[dict[str, Any]]]:
    await tracker.log.write(interesting())
    async with tracker.projecting():
        await tracker.until_caught_up()
    return await tracker.rows()


async def test_views_are_what_the_log_tells(tracker: Tracker) -> None:
    await projected(tracker)
    report = await verified(tracker)
    assert [str(difference) for difference in report.differences] == []
    assert report.compared["webhooks"] == 27


async def test_a_rebuild_gives_the_same_rows(tracker: Tracker) -> None:
    before = await projected(tracker)
    said: list[str] = []
    await rebuild(tracker.settings, Options(), said.append)
    assert await tracker.rows() == before
    assert said[-1] == "swapped: the new views serve"
    assert await schemas(tracker) == {"tracker"}


async def schemas(tracker: Tracker) -> set[str]:
    connection = await asyncpg.connect(tracker.settings.database_url.get_secret_value())
    try:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tracker%'")
        return {row["nspname"] for row in rows}
    finally:
        await connection.close()
