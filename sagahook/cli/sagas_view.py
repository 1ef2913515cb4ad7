"""Sagas on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

_COLOURS = {
    "COMPLETED": "green",
    "ROLLED_BACK": "yellow",
    "FAILED": "red",
    "SUSPENDED": "magenta",
    "COMPENSATING": "yellow",
}


_TABLE_WIDTH = 110
_HEADING = Text(f"{'SAGA':<36}  {'STATE':<12}  DONE  NAME", style="bold")


def plain(value: Any) -> str:
    """What senders wrote, without what would drive a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value))


def show_all(console: Console, sagas: Iterable[Mapping[str, Any]]) -> None:
    """A table; where the terminal is too narrow for one, a line for each, and below it why where something failed."""
    console.print(
        _table(sagas) if console.width >= _TABLE_WIDTH else Group(_HEADING, *_lines(sagas)), highlight=False
    )


def _table(sagas: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("SAGA", no_wrap=True, overflow="ignore")
    for heading in ("NAME", "STATE", "DONE", "UPDATED", "WHY"):
        table.add_column(heading)
    for saga in sagas:
        table.add_row(
            Text(plain(saga["saga_id"])),
            Text(plain(f"{saga['name']} v{saga['version']}")),
            _state(saga["state"]),
            f"{saga['progress']:.0%}",
            plain(saga["updated_at"] or ""),
            Text(plain(saga["error"] or "")),
        )
    return table


def _lines(sagas: Iterable[Mapping[str, Any]]) -> Iterator[Text]:
    for saga in sagas:
        state = Text(f"{saga['state']:<12}", style=_COLOURS.get(saga["state"], ""))
        named = plain(f"{saga['progress']:>4.0%}  {saga['name']} v{saga['version']}")
        yield Text.assemble(f"{plain(saga['saga_id']):<36}  ", state, "  ", named)
        if saga["error"]:
            yield Text(f"  {plain(saga['error'])}", style="dim", no_wrap=True, overflow="ellipsis")


def show(console: Console, saga: Mapping[str, Any]) -> None:
    console.print(_facts(saga))
    steps = Table("STEP", "STATUS", "ATTEMPTS", "WAITS FOR", "ERROR", box=box.SIMPLE_HEAD)
    for step in saga["steps"]:
        attempts = step["attempts"] + step["compensation_attempts"]
        row = [step["name"], step["status"], attempts, waits_for(step), step["error"] or ""]
        steps.add_row(*(Text(plain(each)) for each in row))
    console.print(steps)
    if saga["acts"]:
        acts = Table("WHEN", "WHO", "WHAT", "WHY", "REFUSED", box=box.SIMPLE_HEAD)
        for act in saga["acts"]:
            row = [act["at"], act["actor"], act["what"], act["reason"], act["why"] or ""]
            acts.add_row(*(Text(plain(each)) for each in row))
        console.print(acts)


def waits_for(step: Mapping[str, Any]) -> str:
    told = [
        f"signal {step['signal']}" if step["signal"] else "",
        f"saga {step['child_id']}" if step["child_id"] else "",
        f"until {step['due_at']}" if step["due_at"] else "",
    ]
    return " ".join(filter(None, told)) if step["status"] in ("waiting", "retrying", "running") else ""


def line(saga: Mapping[str, Any]) -> str:
    """How far a saga is."""
    steps = ", ".join(f"{step['name']} {step['status']}" for step in saga["steps"])
    told = [saga["state"], f"{saga['progress']:.0%}", steps, saga["error"] or ""]
    return plain("  ".join(filter(None, told)))


def _facts(saga: Mapping[str, Any]) -> Table:
    facts = Table(box=None, show_header=False)
    parent = saga["parent"]
    rows = {
        "saga": saga["saga_id"],
        "name": f"{saga['name']} v{saga['version']}, run {saga['run']}",
        "done": f"{saga['progress']:.0%} {saga['message'] or ''}",
        "why": saga["error"],
        "cause": saga["cause"],
        "left behind": ", ".join(saga["unresolved"]),
        "waits for": saga["limit_key"] if saga["state"] == "PENDING" else None,
        "held by": f"a pause of {saga['held']}" if saga["held"] else None,
        "part of": f"{parent['saga_id']}, step {parent['step']}" if parent else None,
        "attributes": ", ".join(f"{name}={value}" for name, value in saga["attributes"].items()),
        "correlation": ", ".join(saga["correlation_ids"]),
        "started": saga["started_at"],
        "finished": saga["finished_at"],
        "given up at": saga["deadline_at"],
    }
    facts.add_row("state", _state(saga["state"]))
    for name, value in rows.items():
        if value:
            facts.add_row(name, Text(plain(value)))
    return facts


def _state(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, ""))
