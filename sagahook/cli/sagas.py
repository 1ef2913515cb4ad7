"""`sagahook sagas`: what operators see and do, over the API."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient, escaped

app = typer.Typer(help="Find sagas, watch them, and act on them.", no_args_is_help=True)

Url = Annotated[
    str, typer.Option(envvar="SAGAHOOK_URL", help="Where the API is served; else the `sagahook dev` here.")
]
Key = Annotated[
    str | None, typer.Option(envvar="SAGAHOOK_KEY", help="An API key; else that of the `sagahook dev` here.")
]
SagaId = Annotated[str, typer.Argument(help="The saga's id.")]
OneOrAll = Annotated[
    str | None, typer.Argument(help="The saga's id. Without it: all that --state, --name and --where find.")
]
States = Annotated[list[str] | None, typer.Option("--state", help="Several may be given.")]
Name = Annotated[str | None, typer.Option("--name", help="Of the definition.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="version=, cause=, source=, started_before=, started_after=, or attribute.NAME=. Several must all hold."
    ),
]
Actor = Annotated[str | None, typer.Option(help="Who asks; by default the name you are logged in under.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the saga's log.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many are acted on.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]

How = Literal["retry", "skip", "resolve"]


@app.command("list")
def list_sagas(
    state: States = None,
    name: Name = None,
    where: Where = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """The sagas that started last, by their newest run."""
    from rich.console import Console

    from sagahook.cli.sagas_view import show_all

    with one_line():
        wanted = _filter(state, name, where)
        attributes = [f"{key}:{_text(value)}" for key, value in wanted.pop("attributes", {}).items()]
        page = SagasClient(url, key).get("api", "v1", "sagas", **wanted, attribute=attributes, limit=limit)
    if as_json:
        typer.echo(json.dumps(page["sagas"], indent=2))
        return
    show_all(Console(), page["sagas"])
    if page["next_cursor"] is not None:
        typer.echo(
            f"There are more than {limit}: narrow it with --state, --name or --where, or raise --limit"
        )


@app.command()
def show(saga_id: SagaId, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """A saga's newest run: its steps, and what operators did to it."""
    from rich.console import Console

    from sagahook.cli import sagas_view

    with one_line():
        saga = SagasClient(url, key).get("webhooks", "status", saga_id)
    if as_json:
        typer.echo(json.dumps(saga, indent=2))
    else:
        sagas_view.show(Console(), saga)


@app.command()
def watch(saga_id: SagaId, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """A line for each change, until the saga is final. Exit code 1 where it did not complete."""
    from sagahook.cli.sagas_view import line

    client, said = None, ""
    with one_line():
        client = SagasClient(url, key)
        saga = client.get("webhooks", "status", saga_id)
        while True:
            if line(saga) != said:
                said = line(saga)
                typer.echo(said)
            if saga["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED"):
                break
            saga = client.get("webhooks", "status", saga_id, wait=1)
    if saga["state"] != "COMPLETED":
        raise typer.Exit(1)


@app.command()
def cancel(
    saga_id: OneOrAll = None,
    state: States = None,
    name: Name = None,
    where: Where = None,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Undo what was done."""
    with one_line():
        wanted = _filter(state, name, where)
        _one_or_all("cancel", saga_id, wanted, by_whom(actor, reason), yes, SagasClient(url, key))


@app.command()
def retry(
    saga_id: OneOrAll = None,
    state: States = None,
    name: Name = None,
    where: Where = None,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Go on with suspended sagas; run those that were rolled back or failed again."""
    with one_line():
        wanted = _filter(state, name, where)
        _one_or_all("retry", saga_id, wanted, by_whom(actor, reason), yes, SagasClient(url, key))


@app.command()
def resolve(
    saga_id: OneOrAll = None,
    step: Annotated[
        str | None, typer.Option(help="Whose compensation failed; may be left out where it is the only one.")
    ] = None,
    how: Annotated[
        How, typer.Option(help="retry it; skip it, leaving its effect; or resolve: it was undone by hand.")
    ] = "resolve",
    state: States = None,
    name: Name = None,
    where: Where = None,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Decide about compensations that failed for good."""
    with one_line():
        client, by = SagasClient(url, key), by_whom(actor, reason)
        if saga_id is not None:
            chosen = step if step is not None else _only_unresolved(client, saga_id)
            _act(client, saga_id, f"/compensations/{escaped(chosen)}:{how}", by)
        else:
            body = {"action": f"{how}_compensation", "step": step, **by}
            _act_on_all(client, body, _filter(state, name, where), yes)


@app.command()
def signal(
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="The signal's name.")],
    saga_id: OneOrAll = None,
    payload: Annotated[str, typer.Option(help="JSON, for the step that waits for it.")] = "null",
    signal_id: Annotated[
        str | None, typer.Option(help="The same id is heard once, however often it is sent.")
    ] = None,
    state: States = None,
    name: Name = None,
    where: Where = None,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Tell sagas what one of their steps waits for."""
    with one_line():
        client, by = SagasClient(url, key), by_whom(actor, reason)
        told = {"payload": _payload(payload), **by}
        if saga_id is not None:
            _act(client, saga_id, f":signal/{escaped(signal)}", {"signal_id": signal_id, **told})
        elif signal_id is not None:
            raise NotDone("One --signal-id cannot be that of many sagas' signals: leave it out")
        else:
            body = {"action": "signal", "signal": signal, **told}
            _act_on_all(client, body, _filter(state, name, where), yes)


@contextmanager
def one_line() -> Iterator[None]:
    """What a person has to act on is one line, and exit code 1."""
    from sagahook.cli.sagas_view import plain

    try:
        yield
    except NotDone as reason:
        typer.echo(f"sagahook: {plain(reason)}", err=True)
        raise typer.Exit(1) from None


def by_whom(actor: str | None, reason: str) -> dict[str, str]:
    """What every act says. Raises NotDone."""
    try:
        return {"actor": actor or getpass.getuser(), "reason": reason}
    except (OSError, KeyError):  # a container's user may have no name
        raise NotDone("Nobody knows who you are: say it with --actor") from None


def _act(client: SagasClient, saga_id: str, path: str, body: Mapping[str, Any]) -> None:
    accepted = client.act(f"/{escaped(saga_id)}{path}", body)
    typer.echo(f"accepted as command {accepted['command_id']}; see `sagahook sagas show {saga_id}`")


def _one_or_all(
    action: str,
    saga_id: str | None,
    wanted: Mapping[str, Any],
    by: Mapping[str, str],
    yes: bool,
    client: SagasClient,
) -> None:
    if saga_id is not None:
        _act(client, saga_id, f":{action}", by)
    else:
        _act_on_all(client, {"action": action, **by}, wanted, yes)


def _act_on_all(client: SagasClient, body: Mapping[str, Any], wanted: Mapping[str, Any], yes: bool) -> None:
    """A preview, and what it found only once that is confirmed."""
    if not wanted:
        raise NotDone("Say which: give a saga's id, or --state, --name or --where")
    asks = {**body, "filter": wanted}
    preview = client.act(":bulk", asks)
    count = preview["count"]
    if not count:
        typer.echo("No saga is found that this makes sense for: nothing was done")
        return
    more = ", …" if count > len(preview["sample"]) else ""
    typer.echo(f"{count} sagas: {', '.join(preview['sample'])}{more}")
    if not yes and not typer.confirm(f"{body['action'].replace('_', ' ')} all {count}?"):
        typer.echo("Nothing was done")
        raise typer.Exit(1)
    done = client.act(":bulk", {**asks, "confirm": count})
    typer.echo(f"accepted for {done['count']} sagas, as commands {done['bulk_id']}/…")


def _only_unresolved(client: SagasClient, saga_id: str) -> str:
    unresolved: list[str] = client.get("webhooks", "status", saga_id)["unresolved"]
    if len(unresolved) == 1:
        return unresolved[0]
    which = ", ".join(unresolved) or "none"
    raise NotDone(f"Say which step with --step; compensations of {saga_id} that failed for good: {which}")


def _payload(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise NotDone(f"--payload {text!r} is not JSON; a text is written '\"so\"'") from None


_SIMPLE = ("version", "cause", "source", "started_before", "started_after")


def _filter(state: list[str] | None, name: str | None, where: list[str] | None) -> dict[str, Any]:
    """As the bulk route takes it, without what was not given."""
    found: dict[str, Any] = {}
    if state:
        found["state"] = [each.upper() for each in state]
    if name is not None:
        found["name"] = name
    for each in where or []:
        field, equals, value = each.partition("=")
        if equals and field in _SIMPLE:
            found[field] = value
        elif equals and field.startswith("attribute."):
            found.setdefault("attributes", {})[field.removeprefix("attribute.")] = _value(value)
        else:
            known = ", ".join(f"{simple}=" for simple in _SIMPLE)
            raise NotDone(f"--where {each!r} is not understood: give {known} or attribute.NAME=")
    return found


def _value(text: str) -> Any:
    """As an attribute has it: a number or a truth value where it reads as one."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
