"""A service's own PostgreSQL schema, brought to its newest form: forward only, in plain SQL.

A service keeps its steps in `migrations/`, named `NNNN_what_it_does.py`; each runs its SQL by `op.execute`.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


async def migrate(database_url: str, schema: str, migrations: Path) -> None:
    """Bring `schema` to the newest of `migrations`: all of it, or nothing.

    Several processes may try at once: one works, the others wait and find it done. Raises OSError or
    asyncpg.PostgresError where the database is away or refuses.
    """
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
            await connection.run_sync(_upgrade, schema, migrations)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str, migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("alembic")))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")
