"""Sources on a terminal, and as JSON; never the value of a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sagahook.cli.sagas_view import plain
from sagahook.cli.sources_captured import Check
from sagahook.cli.sources_here import Local
from sagahook.runtime.source_configuration import Entry

_MARKS = {True: "ok", False: "FAILS", None: "-"}


def joined(
    entries: Mapping[str, Entry],
    deployed: Iterable[Mapping[str, Any]] | None,
    of_app: Mapping[str, list[str]],
) -> list[dict[str, Any]]:
    """One for each source, by name."""
    by_name = {each["source"]: each for each in deployed or ()}
    listed = []
    for name in sorted({*entries, *by_name, *of_app}):
        told = dict(by_name.get(name) or {"source": name, "definitions": [], "paused": False})
        told["definitions"] = [*told["definitions"], *(_new(of_app.get(name, ()), told["definitions"]))]
        entry = entries.get(name)
        told["configured"] = None if entry is None else facts(entry)
        listed.append(told)
    return listed


def _new(names: Iterable[str], known: Iterable[str]) -> list[str]:
    return [name for name in names if name not in known]


def facts(entry: Entry) -> dict[str, Any]:
    """What is configured of a source, but never the value of a secret."""
    limit = entry.source.rate_limit
    return {
        **entry.source.model_dump(mode="json", exclude={"secrets", "secret"}),
        "secrets": list(entry.references),
        "where": entry.origin,
        "rate_limit": None if limit is None else str(limit),
    }


def show(listed: Sequence[Mapping[str, Any]], *, with_pauses: bool) -> None:
    pauses = ("PAUSED", "WHO", "WHEN", "WHY") if with_pauses else ()
    table = Table("SOURCE", "SCHEME", "SECRETS", "LIMITS", "STARTS", *pauses, box=box.SIMPLE_HEAD)
    # What is configured nowhere takes what anybody sends; but only if the services' configuration is known here.
    otherwise = "none" if any(each["configured"] for each in listed) else "?"
    for each in listed:
        row = [each["source"], *_configured(each["configured"], otherwise), ", ".join(each["definitions"])]
        if with_pauses:
            row += [
                "yes" if each["paused"] else "no",
                *(each.get(name) for name in ("actor", "set_at", "reason")),
            ]
        table.add_row(*(Text(plain(cell or "")) for cell in row))
    Console().print(table)


def tell(here: Local, done: Sequence[Check], *, sample: bool) -> None:
    """What is configured, a line for each check, and what they come to. sample: no request was given."""
    told = facts(here.entry)
    secrets = f", secrets {', '.join(told['secrets'])}" if told["secrets"] else ""
    limits = _limits(told) or "no limits of its own"
    typer.echo(plain(f"{here.name}: {told['scheme']}{secrets}, {limits}, from {told['where']}"))
    width = max(len(each.name) for each in done)
    for each in done:
        typer.echo(plain(f"  {_MARKS[each.ok]:<5}  {each.name:<{width}}  {each.said}"))
    failed = [each.name for each in done if each.ok is False]
    if failed:
        typer.echo(f"ingest would refuse it: {', '.join(failed)}")
    else:
        typer.echo("a sample that was signed here verifies" if sample else "ingest would take it")


def _configured(told: Mapping[str, Any] | None, otherwise: str) -> tuple[str, str, str]:
    """The scheme, how many secrets, and the limits."""
    if told is None:
        return otherwise, "", ""
    return told["scheme"], str(len(told["secrets"]) or ""), _limits(told)


def _limits(told: Mapping[str, Any]) -> str:
    limits = [
        f"{told['rate_limit']}" if told["rate_limit"] else "",
        f"{told['body_limit']} bytes" if told["body_limit"] else "",
        f"from {', '.join(told['allowed_ips'])}" if told["allowed_ips"] else "",
    ]
    return "; ".join(filter(None, limits))
