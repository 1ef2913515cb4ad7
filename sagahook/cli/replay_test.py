"""`sagahook replay-test MODULE DIR`: whether what ran before can go on with the sagas as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sagahook.saga import SagaApp
    from sagahook.testing import History


def replay_test(
    module: Annotated[
        str, typer.Argument(help="A dotted module name, or a path to a .py file.", metavar="MODULE")
    ],
    folder: Annotated[
        Path, typer.Argument(help="The recorded histories: files of `sagahook history`.", metavar="DIR")
    ],
) -> None:
    """Replay recorded histories under the sagas of a module; a line for each, and exit code 1 where one diverges."""
    from sagahook.saga import AppError, DefinitionError, load_app

    try:
        app = load_app(module)
    except (AppError, DefinitionError) as wrong:
        typer.echo(f"sagahook: {wrong}", err=True)
        raise typer.Exit(1) from None
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    if not files:
        typer.echo(
            f"sagahook: {folder} holds no histories: record some with `sagahook history SAGA_ID > FILE`",
            err=True,
        )
        raise typer.Exit(1)
    verdicts = asyncio.run(_replay(app, folder, files))
    if not all(verdicts):
        typer.echo(f"sagahook: {verdicts.count(False)} of {len(verdicts)} histories do not replay", err=True)
        raise typer.Exit(1)


async def _replay(app: SagaApp, folder: Path, files: list[Path]) -> list[bool]:
    """Whether each of the histories replays."""
    verdicts: list[bool] = []
    for file in files:
        for found in _histories(file):
            verdict = found if isinstance(found, str) else await _divergence(app, found)
            verdicts.append(verdict is None)
            what = "" if isinstance(found, str) else f"  {_title(found)}"
            typer.echo(f"{'ok      ' if verdict is None else 'DIVERGES'}  {file.relative_to(folder)}{what}")
            if verdict is not None:
                typer.echo(f"          {verdict}")
    return verdicts


def _histories(file: Path) -> Iterator[History | str]:
    """The runs in the file; a text says why it holds none."""
    from sagahook.testing import HistoryError, read_histories

    try:
        yield from read_histories(file)
    except (HistoryError, UnicodeDecodeError) as unreadable:
        yield str(unreadable)


async def _divergence(app: SagaApp, history: History) -> str | None:
    from sagahook.testing import divergence

    try:
        found = await divergence(app, history.events)
    except ValueError as impossible:
        return str(impossible)
    if found is None:
        return None
    step = f", step {found.step}" if found.step else ""
    return f"at event {found.sequence}{step}: {found.what}: {found.do}"


def _title(history: History) -> str:
    first = history.events[0]
    name, version = first.data["name"], first.data["version"]
    return f"{name}@{version} {first.saga_id} run {first.run}, {len(history.events)} events"
