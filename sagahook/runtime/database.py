"""The connections to PostgreSQL of the services that keep rows there."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from orjson import dumps, loads

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.settings import DatabaseSettings

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0

BY_KEYS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""A statement is planned when it is first used, often on empty tables, of which it is cheapest to read everything; that
plan would be kept while they grow, until they are analyzed."""


class NotMigrated(Exception):
    """Call an operator: the tables are not there."""


async def open_pool(
    settings: DatabaseSettings, *, clean_up: bool = True, by_keys: bool = False
) -> asyncpg.Pool:
    """Succeeds also while the database is away: connections are made when they are needed. jsonb is read and
    written as Python values. clean_up: what a connection holds (locks of its session, settings) ends when it is given
    back, which costs each use a round trip. by_keys: its statements find rows by their keys, see BY_KEYS."""

    async def connect(_: str, **options: Any) -> asyncpg.Connection:
        return await asyncpg.connect(settings.dsn(), **options)

    return await asyncpg.create_pool(
        settings.dsn(),
        # A password, and the files that asyncpg reads by itself, may be others by now.
        connect=connect,
        min_size=0,
        max_size=settings.database_pool,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        # The queries are short: compiling one costs more than running it.
        server_settings={"jit": "off"} | (BY_KEYS if by_keys else {}),
        init=_read_json,
        reset=None if clean_up else _leave_as_it_is,
    )


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: dumps(value).decode(), decoder=loads
    )


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """Nobody leaves anything in it: whoever takes a lock of the session lets go of it, see `alone`."""


@asynccontextmanager
async def alone(connection: asyncpg.Connection, what: str, of: str) -> AsyncIterator[bool]:
    """Whether nobody else does it now; then nobody does before the block ends."""
    names = "hashtext($1), hashtext($2)"
    taken = bool(await connection.fetchval(f"SELECT pg_try_advisory_lock({names})", what, of))
    try:
        yield taken
    finally:
        # A connection that broke has let go by itself.
        if taken and not connection.is_closed():
            await connection.execute(f"SELECT pg_advisory_unlock({names})", what, of)


@contextmanager
def reaching_database() -> Iterator[None]:
    """Around every use of a pool: raises Unavailable where the database is away for now, or lets nobody in, and
    NotMigrated where its tables are missing. Any other refusal is a fault of ours and passes through."""
    try:
        yield
    except (
        asyncpg.UndefinedTableError,
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedColumnError,
    ) as missing:
        raise NotMigrated(
            f"the database lacks what this version needs ({missing}): run this service's `migrate` first"
        ) from missing
    except Exception as error:
        if not _is_away(error):
            raise
        raise Unavailable(why_away(error)) from error


def why_away(error: Any) -> str:
    """What happened, and where there is something to do, what. Never a password."""
    said = str(error) or repr(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"PostgreSQL is not who it should be ({said}): name the authority that vouches for it in "
            "SAGAHOOK_DATABASE_SSLROOTCERT, and the server as its certificate does in DATABASE_URL"
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"PostgreSQL does not let this service in ({said}): correct the user and the password in DATABASE_URL"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"PostgreSQL has no such database ({said}): make it, or correct its name in DATABASE_URL"
    return f"PostgreSQL is away: {said}"


def _is_away(error: Any) -> bool:
    if type(error) is asyncpg.InterfaceError:
        # The connection was lost while no statement ran: in a transaction, or in use between two statements.
        return "closed" in str(error) or "released" in str(error)
    return isinstance(
        error,
        OSError  # TimeoutError too
        | asyncpg.PostgresConnectionError
        | asyncpg.InvalidAuthorizationSpecificationError  # a password that is being replaced comes right
        | asyncpg.OperatorInterventionError  # it is starting, or shutting down
        | asyncpg.InvalidCatalogNameError  # a database that is being made comes
        | asyncpg.InsufficientResourcesError
        | asyncpg.TransactionRollbackError  # a deadlock, or a conflict
        | asyncpg.InternalClientError,  # it was given back within a cancelled statement; the pool has dropped it
    )
