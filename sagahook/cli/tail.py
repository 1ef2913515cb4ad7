"""`sagahook tail ID`: what happens to something, line by line, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sagahook.cli.sagas import Key, Url
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, NotNow, NotThere, SagasClient

if TYPE_CHECKING:
    from rich.console import Console

ALL_WELL, FAILED, UNKNOWN = 0, 1, 2
"""Exit codes."""

_WAIT = 20.0
"""Seconds that one question may take."""

_LINGER = 1.0
"""Seconds after the end, for outbound webhooks that are on their way."""

_PAUSE = 0.25
_PATIENCE = 60.0
"""Seconds that an API that went away meanwhile is waited for."""

_EXCERPT = 400


def tail(
    thing: Annotated[
        str, typer.Argument(metavar="ID", help="A correlation id, or that of a saga, an event or a delivery.")
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on after the end, until Ctrl-C.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="What there is, without waiting for the end.")] = False,
    payloads: Annotated[
        bool, typer.Option("--payloads", "-p", help="Bodies, contexts and results too, without secrets.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object on each line; the last is the end.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show what happens to something until it is final. Exit code 0: all went well, 1: it failed, 2: not known."""
    try:
        client = SagasClient(url, key)
        code = _shown(_parts(client, thing, follow, once, payloads), as_json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except NotDone as reason:
        from sagahook.cli.sagas_view import plain

        typer.echo(f"sagahook: {plain(reason)}", err=True)
        raise typer.Exit(UNKNOWN) from None
    raise typer.Exit(code)


def _parts(
    client: SagasClient, thing: str, follow: bool, once: bool, payloads: bool
) -> Iterator[Mapping[str, Any]]:
    """The API's answers, until nothing more is to come. Raises NotDone."""
    cursor, ended_at = None, None
    while True:
        answer = _ask(client, thing, cursor, 0 if once else _WAIT, _EXCERPT if payloads else 0)
        cursor = answer["next_cursor"]
        yield answer
        if answer["more"]:
            continue
        if not answer["final"]:
            ended_at = None
        elif ended_at is None or answer["entries"]:
            ended_at = time.monotonic()
        if once or (not follow and ended_at is not None and time.monotonic() - ended_at > _LINGER):
            return
        if answer["final"]:
            time.sleep(_PAUSE)


def _ask(client: SagasClient, thing: str, cursor: str | None, wait: float, excerpt: int) -> Any:
    """Raises NotDone; where it has answered before, only once it has been away for long."""
    patience = time.monotonic() + (_PATIENCE if cursor is not None else 0)
    while True:
        try:
            return client.get("api", "v1", "timelines", thing, cursor=cursor, wait=wait, excerpt=excerpt)
        except NotThere as unknown:
            raise NotDone(
                f"{unknown} (sagahook tail takes any id that an answer or a log line names)"
            ) from unknown
        except NotNow:
            if time.monotonic() > patience:
                raise
            time.sleep(1)


def _shown(parts: Iterator[Mapping[str, Any]], as_json: bool) -> int:
    """The exit code."""
    if as_json:
        return _as_json(parts)
    from rich.console import Console

    from sagahook.cli import tail_view

    console = Console(highlight=False, soft_wrap=True)
    view = tail_view.View()
    last: Mapping[str, Any] = {}
    with _status(console) as status:
        for last in parts:
            for entry in last["entries"]:
                for line in view.lines(entry, last["runs"]):
                    console.print(line)
            if status is not None:
                status.update(f"{tail_view.word(last)}: {tail_view.clean(last['message'])}")
    console.print(tail_view.end(last))
    return _code(last)


def _status(console: Console) -> AbstractContextManager[Any]:
    """A line that moves while it waits, where somebody sees it."""
    return console.status("looking") if console.is_terminal else nullcontext()


def _as_json(parts: Iterator[Mapping[str, Any]]) -> int:
    last: Mapping[str, Any] = {}
    for last in parts:
        for entry in last["entries"]:
            typer.echo(json.dumps(entry))
    typer.echo(json.dumps({name: last[name] for name in ("what", "id", "status", "message", "final")}))
    return _code(last)


def _code(last: Mapping[str, Any]) -> int:
    if not last["final"]:
        return UNKNOWN
    return ALL_WELL if last["status"] in ("completed", "ignored") else FAILED
