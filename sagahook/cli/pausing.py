"""`sagahook definitions`: what is deployed, paused and resumed, over the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from sagahook.cli.sagas import Actor, AsJson, Key, Url, by_whom, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, SagasClient, escaped

definitions = typer.Typer(
    help="The sagas that are deployed: list, pause and resume them.", no_args_is_help=True
)

Definition = Annotated[str, typer.Argument(metavar="NAME", help="The saga's name; all versions of it.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the log.")]


@definitions.command("list")
def list_definitions(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Every saga that is deployed."""
    with one_line():
        found = SagasClient(url, key).get("api", "v1", "definitions")["definitions"]
    rows = ([each["name"], _words(each["versions"]), _words(each["sources"])] for each in found)
    _show(found, ("NAME", "VERSIONS", "SOURCES"), rows, as_json)


@definitions.command("pause")
def pause_definition(
    name: Definition, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Hold what starts of it from now on; what runs goes on."""
    act("definitions", name, "pause", actor, reason, url, key)


@definitions.command("resume")
def resume_definition(
    name: Definition, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Let go what was held, in the order of its start."""
    act("definitions", name, "resume", actor, reason, url, key)


def act(what: str, name: str, verb: str, actor: str | None, reason: str, url: str, key: str | None) -> None:
    """what: `definitions` or `sources`. verb: `pause` or `resume`."""
    with one_line():
        client, by = SagasClient(url, key), by_whom(actor, reason)
        accepted = client.post(f"/api/v1/{what}/{escaped(name)}:{verb}", by)
    typer.echo(f"accepted as command {accepted['command_id']}; see `sagahook {what} list`")


def _show(
    found: Sequence[Mapping[str, Any]],
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    as_json: bool,
) -> None:
    """Each row goes on with its pause."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sagahook.cli.sagas_view import plain

    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table(*headings, "PAUSED", "WHO", "WHEN", "WHY", box=box.SIMPLE_HEAD)
    for row, each in zip(rows, found, strict=True):
        pause = ["yes" if each["paused"] else "no", each["actor"], each["set_at"], each["reason"]]
        table.add_row(*(Text(plain(cell or "")) for cell in [*row, *pause]))
    Console().print(table)


def _words(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
