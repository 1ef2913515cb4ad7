"""`sagahook doctor`: PostgreSQL, and what the services keep there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from sagahook.cli.doctor_kafka import clock_line
from sagahook.cli.doctor_readers import Ends
from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.cli.doctor_work import check_definitions, check_endpoints, check_work, load_doctor_queries
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import NotMigrated

_SECONDS = 15.0
_OLDEST = 140_000
"""The oldest PostgreSQL that is tried, as it numbers itself."""

_SCHEMAS = {"tracker": "sagahook_tracker", "notifier": "sagahook_notifier"}

_READERS = (
    ("views", "tracker", "sagahook-tracker project"),
    ("notifier", "notifier", "sagahook-notifier, as its --help says"),
)
"""The check, the schema that says how far the service has read, and what starts it."""

_AGAIN = {
    "views": "sagahook tracker rebuild",
    "notifier": "stop it, DELETE FROM notifier.offsets, start it (docs/operating/disaster-recovery.md)",
}
"""What lets a service begin anew with another log."""

_BEHIND = 10_000
"""Records that the views may be behind before it is worth a word."""


Positions = Mapping[str, Mapping[tuple[str, int], int]]
"""The next offset by schema, topic and partition."""


async def read_positions(url: str) -> Positions:
    """How far the views and the notifier have read. To be asked before Kafka is asked where the log ends: the log only
    grows, so nobody who reads on meanwhile is taken for one that is ahead of it. Empty where PostgreSQL does not say;
    check_postgres tells why."""
    try:
        async with asyncio.timeout(_SECONDS):
            connection = await asyncpg.connect(url, timeout=5.0)
            try:
                schemas = [schema for _, schema, _ in _READERS if await _is_there(connection, schema)]
                return {schema: await _offsets(connection, schema) for schema in schemas}
            finally:
                await connection.close(timeout=2.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
        return {}


async def check_postgres(
    url: str, read: Positions, ends: Ends | None, *, production: bool = False
) -> list[Line]:
    """read: what read_positions said before `ends` was asked for. ends: where the log's partitions end; None: Kafka
    does not say. production: it must keep what it committed, and nobody must be able to listen."""
    lines: list[Line] = []
    try:
        async with asyncio.timeout(_SECONDS):
            connection = await asyncpg.connect(url, timeout=5.0)
            try:
                lines.append(await _server(connection, url))
                lines.append(await _clock(connection))
                for schema, package in _SCHEMAS.items():
                    lines.append(await _migrations(connection, schema, package))
                if production:
                    lines += [line async for line in _production(connection)]
                lines += await _kept(connection, read, ends)
            finally:
                await connection.close(timeout=2.0)
            lines += await check_work(url)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as older:
        lines.append(
            fail("postgresql", f"a schema is of another version ({older})", "see the line of migrations")
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as away:
        lines.append(_away(away, url, reached=bool(lines)))
    except (Unavailable, NotMigrated) as unknown:
        lines.append(fail("stuck work", str(unknown), "see the lines above"))
    return lines


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


async def _production(connection: asyncpg.Connection) -> AsyncIterator[Line]:
    queries = load_doctor_queries()
    risky = ", ".join([f"{row['name']} is {row['setting']}" async for row in queries.durability(connection)])
    if risky:
        says = f"{risky}: what was committed may be gone when the machine fails"
        yield fail("postgresql", says, "set them on, in postgresql.conf, and restart it")
    if not await queries.is_encrypted(connection):
        then = "SAGAHOOK_DATABASE_SSLMODE=verify-full with SAGAHOOK_DATABASE_SSLROOTCERT"
        yield warn("postgresql", "the connection is not encrypted", then)


async def _kept(connection: asyncpg.Connection, read: Positions, ends: Ends | None) -> list[Line]:
    """What the schemas that are there hold."""
    lines: list[Line] = []
    for check, schema, service in _READERS:
        if ends is not None and schema in read:
            lines += _lag(check, read[schema], ends, service)
    if await _is_there(connection, "tracker"):
        lines += [line async for line in check_definitions(connection)]
    if await connection.fetchval("SELECT to_regclass('notifier.endpoint_health')") is not None:
        lines += [line async for line in check_endpoints(connection, datetime.now(UTC))]
    return lines


async def _is_there(connection: asyncpg.Connection, schema: str) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", f"{schema}.offsets") is not None


async def _offsets(connection: asyncpg.Connection, schema: str) -> dict[tuple[str, int], int]:
    rows = await connection.fetch(f"SELECT topic, partition, next_offset FROM {schema}.offsets")  # noqa: S608  # our own name
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def _lag(check: str, read: Mapping[tuple[str, int], int], ends: Ends, service: str) -> Iterator[Line]:
    """Only of what was ever read: a topic that is read by others is none of its business."""
    again = _AGAIN[check]
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
            f"set SAGAHOOK_KAFKA and SAGAHOOK_TOPIC_PREFIX right; where the log was lost: {again}",
        )
    elif lag > _BEHIND:
        yield warn(
            check, f"{lag} records behind the log", f"see that {service} runs and its log; more replicas help"
        )
    else:
        yield ok(check, f"{lag} records behind the log")
