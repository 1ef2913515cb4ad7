"""`sagahook definitions` and `sagahook sources`: what is deployed, paused and resumed, over the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from sagahook.cli.sagas import DEFAULT_URL, Actor, AsJson, Key, Url, by_whom, one_line
from sagahook.cli.sagas_client import SagasClient, escaped

definitions = typer.Typer(
    help="The sagas that are deployed: list, pause and resume them.", no_args_is_help=True
)
sources = typer.Typer(help="The sources of webhooks: list, pause and resume them.", no_args_is_help=True)

Definition = Annotated[str, typer.Argument(metavar="NAME", help="The saga's name; all versions of it.")]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="As in /webhooks/SOURCE.")]
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
    _act("definitions", name, "pause", actor, reason, url, key)


@definitions.command("resume")
def resume_definition(
    name: Definition, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Let go what was held, in the order of its start."""
    _act("definitions", name, "resume", actor, reason, url, key)


@sources.command("list")
def list_sources(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Every source whose webhooks start something."""
    with one_line():
        found = SagasClient(url, key).get("api", "v1", "sources")["sources"]
    rows = ([each["source"], _words(each["definitions"])] for each in found)
    _show(found, ("SOURCE", "STARTS"), rows, as_json)


@sources.command("pause")
def pause_source(
    source: Source, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Go on accepting its webhooks, and hold what they start."""
    _act("sources", source, "pause", actor, reason, url, key)


@sources.command("resume")
def resume_source(
    source: Source, actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Let go what was held, in the order of its start."""
    _act("sources", source, "resume", actor, reason, url, key)


def _act(what: str, name: str, act: str, actor: str | None, reason: str, url: str, key: str | None) -> None:
    with one_line():
        client, by = SagasClient(url, key), by_whom(actor, reason)
        accepted = client.post(f"/api/v1/{what}/{escaped(name)}:{act}", by)
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
