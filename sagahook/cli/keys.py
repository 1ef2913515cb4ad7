"""`sagahook keys`: API keys, of which the services are told only the hashes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Make API keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """A command of a group, also while there is but one."""


@app.command()
def new(
    role: Annotated[
        Literal["reader", "operator", "admin"],
        typer.Option(help="reader: everything that is asked; operator: acts on sagas too; admin: all of it."),
    ],
    name: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="After which it expires.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: the key and its entry.")] = False,
) -> None:
    """Make a key. It is shown once: the services get its SHA-256, from which nobody gets it back."""
    from sagahook.runtime.api_keys import make_key

    if not name.isprintable() or len(name) > 100:
        typer.echo("sagahook: --name must be at most 100 characters that can be shown", err=True)
        raise typer.Exit(1)
    expires_at = None
    if days is not None:
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    key, entry = make_key(role, name, expires_at=expires_at)
    configured = entry.model_dump(mode="json", exclude_defaults=True)
    if as_json:
        typer.echo(json.dumps({"key": key, "entry": configured}))
        return
    typer.echo(f"The key, which is not shown again:\n\n  {key}\n")
    typer.echo("What the services are told, as one of the list in SAGAHOOK_API_KEYS:\n")
    typer.echo(f"  {json.dumps(configured)}")
