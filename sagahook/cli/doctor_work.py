"""`sagahook doctor`: the work that does not go on: sagas, definitions, dead letters, receivers of outbound webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.runtime.batches import Unavailable
from sagahook_tracker.adapters.dead_letters import DeadLetterTopics, DeadTopic
from sagahook_tracker.adapters.stuck import MOST, Counts, StuckWork, load_stuck_queries
from sagahook_tracker.domain.dead_letters import remedy
from sagahook_tracker.domain.redaction import redacted_text
from sagahook_tracker.domain.stuck import KINDS, Kind, Stuck

_WAITING_SECONDS = 3600.0
"""A webhook may wait for a signal or a time; from here on somebody should know."""

_FAILING = timedelta(minutes=10)
"""So long a receiver may fail before it is worth a word: retries come in between."""

_GIVEN_UP = timedelta(days=1)
_SHOWN = 3
"""Of endpoints and of versions, each on a line."""

_SAYS: dict[Kind, str] = {
    "failed": "left effects behind",
    "suspended": "are suspended",
    "overdue": "should have gone on by now",
    "held": "are held by a pause",
}


def load_doctor_queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("doctor.sql"), "asyncpg")


async def check_definitions(connection: asyncpg.Connection) -> AsyncIterator[Line]:
    """What is deployed, and what sagas that wait need of it."""
    queries = load_doctor_queries()
    deployed = await queries.deployed(connection)
    if not deployed["sagas"]:
        then = "start a runner with your sagas (SAGAHOOK_APP), or: sagahook dev --app MODULE"
        yield warn("definitions", "no saga is deployed: webhooks start nothing", then)
        return
    needed = [row async for row in queries.needed(connection)]
    for row in needed[:_SHOWN]:
        which = f"{row['name']} {row['version']}"
        yield fail(
            "definitions",
            f"{row['sagas']} sagas wait for {which}: no runner has it, or their history does not fit the one "
            "that it has",
            f"deploy {which} as they began under it: they go on by themselves; or: sagahook sagas list "
            f"--state SUSPENDED --name {row['name']} --where version={row['version']}, then POST …:migrate",
        )
    if len(needed) > _SHOWN:
        yield fail("definitions", f"sagas wait for {len(needed) - _SHOWN} further versions", "as above")
    if not needed:
        says = f"{deployed['sagas']} sagas are deployed, in {deployed['versions']} versions"
        yield ok("definitions", f"{says}; none waits for another")


async def check_endpoints(connection: asyncpg.Connection, now: datetime) -> AsyncIterator[Line]:
    """The receivers of outbound webhooks, and what was given up."""
    queries = load_doctor_queries()
    found = queries.endpoints_in_trouble(connection, now=now, failing_before=now - _FAILING)
    troubled = [row async for row in found]
    for row in troubled[:_SHOWN]:
        yield _endpoint(row)
    if len(troubled) > _SHOWN:
        yield warn("endpoints", f"{len(troubled) - _SHOWN} more fail", "sagahook endpoints list")
    given_up = await queries.exhausted(connection, since=now - _GIVEN_UP)
    if given_up:
        yield warn(
            "endpoints",
            f"{given_up} deliveries of the last day were given up",
            "see why: sagahook deliveries list; when it is mended: sagahook deliveries redrive --since 1d",
        )
    if not (troubled or given_up):
        yield ok("endpoints", "every receiver is reached, nothing of the last day was given up")


def _endpoint(row: Any) -> Line:
    why = redacted_text(row["disabled_reason"] or row["error"] or "no reason is known")
    if row["disabled_at"] is not None:
        says = f"{row['id']} was switched off at {_moment(row['disabled_at'])}: {why}"
        return fail("endpoints", says, f"mend the receiver, then: sagahook endpoints enable {row['id']}")
    since = (
        f"fails since {_moment(row['failing_since'])}" if row["failing_since"] else "is left alone for now"
    )
    return warn(
        "endpoints",
        f"{row['id']} {since}: {why}",
        f"see its attempts: sagahook endpoints show {row['id']}; what waits is sent when it answers",
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


async def check_dead_letters(bootstrap: str, prefix: str) -> list[Line]:
    try:
        topics = await DeadLetterTopics(bootstrap, prefix).topics()
    except Unavailable as away:
        return [fail("dead letters", str(away), "see the lines above")]
    return [_dead(topic) for topic in topics if topic.count] or [ok("dead letters", "none waits")]


def _dead(topic: DeadTopic) -> Line:
    count = f"{'' if topic.exact else 'at most '}{topic.count}"
    since = f", the oldest of {_moment(topic.oldest_at)}" if topic.oldest_at else ""
    then = f"see why: sagahook dlq show {topic.topic}; {remedy(topic.topic)}"
    return warn("dead letters", f"{topic.of}: {count}{since}", then)


async def check_work(url: str) -> list[Line]:
    """Raises Unavailable, NotMigrated."""
    now = datetime.now(UTC)
    async with asyncpg.create_pool(url, min_size=0, max_size=1, timeout=5.0, init=_jsonb) as pool:
        work = StuckWork(pool, load_stuck_queries())
        counts = await work.counts(now)
        first = {stuck.kind: stuck for stuck in reversed(await work.find(now, most=10))}
        lines = [_stuck(kind, counts.of(kind), first.get(kind)) for kind in KINDS if counts.of(kind)]
        oldest = await work.oldest_webhooks(1)
    if not lines:
        lines = [ok("stuck sagas", "none")]
    lines.append(_oldest(counts, oldest[0].event_id if oldest else "", now))
    return lines


async def _jsonb(connection: asyncpg.Connection) -> None:
    from orjson import dumps, loads

    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: dumps(value).decode(), decoder=loads
    )


def _stuck(kind: Kind, count: int, first: Stuck | None) -> Line:
    many = f"{count} or more" if kind == "overdue" and count >= MOST else str(count)
    if first is None:
        return warn("stuck sagas", f"{many} {_SAYS[kind]}", f"GET /api/v1/stuck?kind={kind}")
    run = first.run
    says = f"{many} {_SAYS[kind]}; since {_moment(first.since)} {run.name} {run.saga_id}: {redacted_text(first.why)}"
    return warn(
        "stuck sagas", says, f"{first.next.what}: {first.next.command}   (all: GET /api/v1/stuck?kind={kind})"
    )


def _oldest(counts: Counts, event_id: str, now: datetime) -> Line:
    check = "oldest webhook"
    if counts.oldest_received_at is None:
        return ok(check, "every webhook that was received is final")
    age = (now - counts.oldest_received_at).total_seconds()
    says = f"one is not final since {age:.0f} s"
    if age > _WAITING_SECONDS:
        return warn(check, says, f"see what it waits for: sagahook tail {event_id} --once")
    return ok(check, says)
