"""`sagahook tracker`: are the views what the log tells? And if not, made anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sagahook_tracker.domain.differences import Report
    from sagahook_tracker.settings import TrackerSettings

app = typer.Typer(
    help="The tracker's views in PostgreSQL. Where they and Kafka are is read from the environment.",
    no_args_is_help=True,
)

Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes that fill. (default: one for each processor, at most 4)")
]


@app.command()
def rebuild(
    jobs: Jobs = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Keep what served until now, as the schema tracker_old.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted rebuild left.")
    ] = False,
) -> None:
    """Make the views anew from the log while the old ones serve; verify them; put them in their place."""
    from sagahook_tracker.rebuilding import Options, Refused
    from sagahook_tracker.rebuilding import rebuild as run

    options = Options(jobs or min(4, os.cpu_count() or 1), keep_old, resume)
    settings = _settings()
    with _one_message(settings):
        try:
            asyncio.run(run(settings, options, typer.echo))
        except Refused as refused:
            _refuse(str(refused))


@app.command()
def verify() -> None:
    """Compare the views with the log, up to where they stand; a projector may run meanwhile. Exit code 1 where anything
    differs."""
    settings = _settings()
    with _one_message(settings):
        report = asyncio.run(_verify(settings))
    for difference in report.differences:
        typer.echo(str(difference))
    if report.count > len(report.differences):
        typer.echo(f"… and {report.count - len(report.differences)} more")
    rows = sum(report.compared.values())
    typer.echo(f"{report.count} differences in {rows:,} rows of {len(report.compared)} tables")
    if report.count:
        typer.echo("`sagahook tracker rebuild` makes the views anew", err=True)
        raise typer.Exit(1)


async def _verify(settings: TrackerSettings) -> Report:
    from sagahook.runtime.database import open_pool, reaching_database
    from sagahook_tracker.verifying import verify

    pool = await open_pool(settings)
    try:
        with reaching_database():
            return await verify(settings, pool)
    finally:
        await pool.close()


def _settings() -> TrackerSettings:
    from pydantic import ValidationError

    from sagahook.runtime.settings_errors import explain
    from sagahook_tracker.settings import TrackerSettings

    try:
        return TrackerSettings()
    except ValidationError as invalid:
        _refuse(explain(invalid))


@contextmanager
def _one_message(settings: TrackerSettings) -> Iterator[None]:
    from aiokafka.errors import KafkaError

    from sagahook.runtime.batches import OffsetOutOfRange, Unavailable
    from sagahook.runtime.database import NotMigrated
    from sagahook.runtime.topics import TopicsMismatch

    try:
        yield
    except (KafkaError, OSError) as away:
        _refuse(
            f"Kafka at {settings.kafka} does not answer ({away or type(away).__name__}): is it running there?"
        )
    except (Unavailable, OffsetOutOfRange, NotMigrated, TopicsMismatch) as reason:
        _refuse(str(reason))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"sagahook: {message}", err=True)
    raise typer.Exit(1)
