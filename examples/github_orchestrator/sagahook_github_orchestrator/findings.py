"""What GitHub tells, made small: a step's result is kept in the log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sagahook_github_orchestrator.events import FAILED

_SHOWN = 50
_LONGEST = 500
"""Characters of a text that somebody else wrote."""


def changes(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all files how many and how much, and those with the most changes."""
    known = list(files)
    most = sorted(known, key=lambda file: (-file["changes"], file["filename"]))[:_SHOWN]
    return {
        "files": len(known),
        "additions": sum(file["additions"] for file in known),
        "deletions": sum(file["deletions"] for file in known),
        "most": [{"name": file["filename"], "changes": file["changes"]} for file in most],
    }


def summed_up(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How many check runs passed, and which failed or are running."""
    known = list(runs)
    failed = [run["name"] for run in known if run["conclusion"] in FAILED]
    running = [run["name"] for run in known if run["status"] != "completed"]
    return {
        "passed": len(known) - len(failed) - len(running),
        "failed": failed[:_SHOWN],
        "running": running[:_SHOWN],
    }


def annotated(annotations: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a check run found what, a line each."""
    told = [f"{each['path']}:{each['start_line']}: {_short(each['message'])}" for each in annotations]
    return told[:_SHOWN]


def failing(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which of a suite's check runs failed, and what they say themselves."""
    told = [
        f"{run['name']}: {_short((run['output'] or {}).get('title') or run['conclusion'])}"
        for run in runs
        if run["conclusion"] in FAILED
    ]
    return told[:_SHOWN]


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
