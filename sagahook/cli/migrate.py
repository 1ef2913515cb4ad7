"""`sagahook migrate`: the tables of every service, as this version needs them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, NoReturn

import typer

_RETRY_SECONDS = 1.0


def migrate(
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a PostgreSQL that does not answer yet.")
    ] = 60,
) -> None:
    """Bring the schemas in DATABASE_URL up to date: forward only, each as a whole or not at all. To say it again
    changes nothing, and several may say it at once.

    Exit code 1 where PostgreSQL refuses, or is still away.
    """
    from sagahook.runtime.batches import Unavailable

    try:
        asyncio.run(_migrate(wait))
    except Unavailable as away:
        _refuse(f"{away}. Nothing was changed: say it again when it answers")
    typer.echo("the schemas are as this version needs them")


async def _migrate(wait: float) -> None:
    """Raises Unavailable, and whatever else PostgreSQL refuses."""
    from sagahook.embedded.migrations import migrate_all
    from sagahook.runtime.batches import Unavailable
    from sagahook.runtime.database import reaching_database
    from sagahook.runtime.settings import database_url_of_environment

    deadline = time.monotonic() + wait
    while True:
        try:
            with reaching_database():
                await migrate_all(database_url_of_environment())
        except Unavailable as away:
            if time.monotonic() > deadline:
                raise
            typer.echo(f"sagahook: {away}; trying again", err=True)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _refuse(message: str) -> NoReturn:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
