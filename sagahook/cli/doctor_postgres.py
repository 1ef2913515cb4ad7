"""`sagahook doctor`: PostgreSQL, what the services keep there, and the work that does not go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from sagahook.cli.doctor_kafka import Ends, clock_line
from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated
from sagahook_tracker.adapters.dead_letters import DeadLetterTopics
from sagahook_tracker.adapters.stuck import MOST, Counts, StuckWork, load_stuck_queries
from sagahook_tracker.domain.redaction import redacted_text
from sagahook_tracker.domain.stuck import KINDS, Kind, Stuck

_SECONDS = 15.0
_OLDEST = 140_000
"""The oldest PostgreSQL that is tried, as it numbers itself."""

_SCHEMAS = {"tracker": "sagahook_tracker", "notifier": "sagahook_notifier"}

_BEHIND = 10_000
"""Records that the views may be behind before it is worth a word."""

_WAITING_SECONDS = 3600.0
"""A webhook may wait for a signal or a time; from here on somebody should know."""

_SAYS: dict[Kind, str] = {
    "failed": "left effects behind",
    "suspended": "are suspended",
    "overdue": "should have gone on by now",
    "held": "are held by a pause",
}


async def check_postgres(url: str, ends: Ends | None) -> list[Line]:
    """ends: where the log's partitions end; None: Kafka does not say."""
    lines: list[Line] = []
    try:
        async with asyncio.timeout(_SECONDS):
            connection = await asyncpg.connect(url, timeout=5.0)
            try:
                lines.append(await _server(connection, url))
                lines.append(await _clock(connection))
                for schema, package in _SCHEMAS.items():
                    lines.append(await _migrations(connection, schema, package))
                lines += await _views(connection, ends)
            finally:
                await connection.close(timeout=2.0)
            lines += await _work(url)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as away:
        lines.append(_away(away, url, reached=bool(lines)))
    except (Unavailable, NotMigrated) as unknown:
        lines.append(fail("stuck work", str(unknown), "see the lines above"))
    return lines


async def check_dead_letters(bootstrap: str, prefix: str) -> list[Line]:
    try:
        topics = await DeadLetterTopics(bootstrap, prefix).topics()
    except Unavailable as away:
        return [fail("dead letters", str(away), "see the lines above")]
    lines = [
        warn(
            "dead letters",
            f"{topic.of}: {'' if topic.exact else 'at most '}{topic.count}"
            + (f", the oldest of {topic.oldest_at:%Y-%m-%d %H:%M:%S} UTC" if topic.oldest_at else ""),
            f"sagahook dead-letters {topic.topic}   (or GET /api/v1/dead-letters/{topic.topic})",
        )
        for topic in topics
        if topic.count
    ]
    return lines or [ok("dead letters", "none")]


def _away(reason: Exception, url: str, reached: bool) -> Line:
    """Without the password that stands in the URL."""
    parts = urlsplit(url)
    where = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    told = str(reason).replace(url, where).replace(parts.password or url, "***") or type(reason).__name__
    says = f"it stopped answering ({told})" if reached else f"{where} does not answer ({told})"
    return fail(
        "postgresql", says, "start it, or set DATABASE_URL to postgresql://user:password@host:port/name"
    )


async def _server(connection: asyncpg.Connection, url: str) -> Line:
    version = await connection.fetchval("SHOW server_version")
    if int(await connection.fetchval("SHOW server_version_num")) < _OLDEST:
        return warn(
            "postgresql", f"it is version {version}, which is not tried", "use PostgreSQL 14 or newer"
        )
    used, most = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM pg_stat_activity), current_setting('max_connections')::int"
    )
    if used > 0.9 * most:
        return warn(
            "postgresql", f"{used} of {most} connections are in use", "raise max_connections, or pool them"
        )
    parts = urlsplit(url)
    return ok(
        "postgresql", f"{parts.hostname or 'localhost'}:{parts.port or 5432} answers, version {version}"
    )


async def _clock(connection: asyncpg.Connection) -> Line:
    before = time.time()
    theirs: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return clock_line("database clock", theirs.timestamp(), before, time.time())


async def _migrations(connection: asyncpg.Connection, schema: str, package: str) -> Line:
    check, command = "migrations", f"sagahook-{schema} migrate"
    migrations = Path(import_module(package).__file__ or "").with_name("migrations")
    newest = max(path.name[:4] for path in migrations.glob("[0-9]*.py"))
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_version") is None:
        return fail(check, f"{schema}: nothing is there yet", command)
    version = await connection.fetchval(f"SELECT version_num FROM {schema}.schema_version")  # noqa: S608  # our own name
    if version < newest:
        return fail(check, f"{schema}: at {version}, this version needs {newest}", command)
    if version > newest:
        return warn(
            check, f"{schema}: at {version}, newer than this version's {newest}", "upgrade this sagahook too"
        )
    return ok(check, f"{schema}: at {version}, the newest")


async def _views(connection: asyncpg.Connection, ends: Ends | None) -> list[Line]:
    if await connection.fetchval("SELECT to_regclass('tracker.offsets')") is None:
        return []
    lines: list[Line] = []
    if ends is not None:
        lines += list(_lag("views", await _offsets(connection, "tracker"), ends, "sagahook-tracker project"))
        if await connection.fetchval("SELECT to_regclass('notifier.offsets')") is not None:
            read = await _offsets(connection, "notifier")
            lines += list(_lag("notifier", read, ends, "sagahook-notifier, as its --help says"))
    sagas, versions = await connection.fetchrow(
        "SELECT count(DISTINCT name), count(*) FROM tracker.definitions"
    )
    if not sagas:
        then = "start a runner with your sagas (SAGAHOOK_APP), or: sagahook dev --app MODULE"
        lines.append(warn("definitions", "no saga is deployed: webhooks start nothing", then))
    else:
        lines.append(ok("definitions", f"{sagas} sagas are deployed, in {versions} versions"))
    return lines


async def _offsets(connection: asyncpg.Connection, schema: str) -> dict[tuple[str, int], int]:
    rows = await connection.fetch(f"SELECT topic, partition, next_offset FROM {schema}.offsets")  # noqa: S608  # our own name
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def _lag(check: str, read: dict[tuple[str, int], int], ends: Ends, service: str) -> Iterator[Line]:
    """Only of what was ever read: a topic that is read by others is none of its business."""
    if not read:
        yield warn(check, "nothing was read yet", f"start {service}")
        return
    behind = {tuple(place): end - read[tuple(place)] for place, end in ends.items() if tuple(place) in read}
    lag = sum(max(0, each) for each in behind.values())
    ahead = [f"{topic} {partition}" for (topic, partition), each in behind.items() if each < 0]
    if ahead:
        yield fail(
            check,
            f"they stand for more than the log holds ({', '.join(ahead)}): the log is not the one that they are of",
            "sagahook tracker rebuild, or set SAGAHOOK_KAFKA and SAGAHOOK_TOPIC_PREFIX right",
        )
    elif lag > _BEHIND:
        yield warn(
            check, f"{lag} records behind the log", f"see that {service} runs and its log; more replicas help"
        )
    else:
        yield ok(check, f"{lag} records behind the log")


async def _work(url: str) -> list[Line]:
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
    since, run = f"{first.since:%Y-%m-%d %H:%M:%S} UTC", first.run
    says = f"{many} {_SAYS[kind]}; since {since} {run.name} {run.saga_id}: {redacted_text(first.why)}"
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
