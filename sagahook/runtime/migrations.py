"""A service's own PostgreSQL schema, brought to its newest form: forward only, in plain SQL.

A service keeps its steps in `migrations/`, named `NNNN_what_it_does.py` after their revision; each runs its SQL by
`op.execute`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from sqlalchemy import Connection


async def migrate(
    database_url: str, schema: str, migrations: Path, *, written_for: str | None = None
) -> None:
    """Bring `schema` to the newest of `migrations`: all of it, or nothing. written_for: the schema that their SQL
    names, where it is another one.

    Several processes may try at once: one works, the others wait and find it done. Raises OSError or
    asyncpg.PostgresError where the database is away or refuses.
    """
    found = await _version(database_url, schema)
    if found is not None and found >= newest(migrations):
        return  # the tools below take a second to load; and what a later version made is not undone
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    # asyncpg reads the URL itself, so that its options mean here what they mean for the service's pool.
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(database_url)
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext('sagahook.migrations'), hashtext(:schema))"),
                {"schema": schema},
            )
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
            await connection.run_sync(_upgrade, schema, migrations, written_for or schema)
    finally:
        await engine.dispose()


def newest(migrations: Path) -> str:
    """The version that they lead to."""
    return max(path.name[:4] for path in migrations.glob("[0-9]*.py"))


async def _version(database_url: str, schema: str) -> str | None:
    connection = await asyncpg.connect(database_url)
    try:
        if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_version") is None:
            return None
        version: str = await connection.fetchval(f"SELECT version_num FROM {schema}.schema_version")  # noqa: S608  # our own name
        return version
    finally:
        await connection.close()


def _upgrade(connection: Connection, schema: str, migrations: Path, written_for: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import event

    def elsewhere(_1: Any, _2: Any, sql: str, parameters: Any, _3: Any, _4: Any) -> tuple[str, Any]:
        return re.sub(rf"\b{written_for}\.", f"{schema}.", sql), parameters

    if written_for != schema:
        event.listen(connection, "before_cursor_execute", elsewhere, retval=True)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("alembic")))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")
