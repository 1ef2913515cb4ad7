"""A timeline's entries as lines for people, in a terminal or in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from sagahook.cli.sagas_view import plain

_COLOURS = {
    "completed": "green",
    "succeeded": "green",
    "triggered": "cyan",
    "ignored": "dim",
    "failed": "red",
    "attempt_failed": "red",
    "exhausted": "red",
    "failing": "red",
    "rolled_back": "yellow",
    "compensating": "yellow",
    "suspended": "magenta",
    "retry_scheduled": "yellow",
    "attempt_lost": "yellow",
}

_DEEPEST = 6


def clean(text: object) -> str:
    """On one line, whatever a sender put into it."""
    return " ".join(plain(text).split())


class View:
    """Remembers what it showed last, so that the day is told when it changes."""

    def __init__(self) -> None:
        self._day = ""

    def lines(self, entry: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
        at = datetime.fromisoformat(entry["at"])
        day = f"{at:%Y-%m-%d} UTC"
        if day != self._day:
            self._day = day
            yield Text(day, style="bold")
        indent = "  " * _depth(entry, runs)
        line = Text(f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}  ", style="dim")
        line.append(f"{indent}{entry['type']:<22}", style=_COLOURS.get(entry["type"].partition(".")[2], ""))
        line.append(f"  {_about(entry)}")
        for extra in _extras(entry):
            line.append(f"  {extra}", style="dim")
        if entry["error"]:
            line.append(f"  {clean(entry['error'])}", style="red")
        yield line
        yield from _payload(entry, indent)


def end(last: Mapping[str, Any]) -> Text:
    style = "green" if last["status"] in ("completed", "ignored") else "red" if last["final"] else "yellow"
    line = Text(f"{word(last)}: {clean(last['message'])}", style=style)
    if not last["final"]:
        line.append(" (not final yet)")
    untold = sum(run["untold"] for run in last["runs"])
    if untold:
        line.append(f"\n{untold} older events are only in the log: sagahook history SAGA_ID", style="dim")
    return line


def word(last: Mapping[str, Any]) -> str:
    status: str = last["status"]
    return status.replace("_", " ")


def _depth(entry: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> int:
    """How many sagas stand above that of the entry."""
    parents = {run["saga_id"]: run["parent"]["saga_id"] for run in runs if run["parent"] is not None}
    depth, saga = 0, entry["saga_id"]
    while saga in parents and depth < _DEEPEST:
        depth, saga = depth + 1, parents[saga]
    return depth


def _about(entry: Mapping[str, Any]) -> str:
    if entry["type"].startswith("delivery."):
        return clean(f"{entry['message']} → {entry['name']}")
    if entry["step"] is not None:
        undo = "undo " if entry["phase"] == "compensation" else ""
        return clean(f"{entry['name']}: {undo}{entry['step']}")
    told = entry["message"] if entry["message"] != entry["error"] else None
    return clean(" · ".join(filter(None, [entry["name"], told])))


def _extras(entry: Mapping[str, Any]) -> Iterator[str]:
    if (entry["attempt"] or 0) > 1:
        yield f"attempt {entry['attempt']}"
    if entry["duration_ms"] is not None:
        yield _duration(entry["duration_ms"])
    details = entry["details"]
    if details.get("due_at") or details.get("next_attempt_at"):
        yield f"until {details.get('due_at') or details['next_attempt_at']}"
    if details.get("status_code"):
        yield f"HTTP {details['status_code']}"
    if details.get("actor"):
        yield f"by {clean(details['actor'])}"
    if entry["type"] == "saga.started":
        yield f"saga {entry['saga_id']}" + (f" run {entry['run']}" if entry["run"] != 1 else "")
    if entry["type"] == "webhook.received":
        yield f"event {entry['event_id']}"


def _payload(entry: Mapping[str, Any], indent: str) -> Iterator[Text]:
    payload = entry["payload"]
    if payload is None:
        return
    told = payload["excerpt"] if payload["value"] is None else json.dumps(payload["value"])
    if payload["missing"]:
        told = f"({payload['missing']})"
    yield Text(f"{' ' * 14}{indent}{clean(told or '')}", style="dim")


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"
