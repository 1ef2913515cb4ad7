"""What `sagahook doctor` found: a line for each check, with what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """next: the exact command or call, or what to look at; None where nothing is to be done."""

    check: str
    verdict: Verdict
    says: str
    next: str | None = None


def ok(check: str, says: str) -> Line:
    return Line(check, "ok", says)


def warn(check: str, says: str, next: str) -> Line:
    return Line(check, "warn", says, next)


def fail(check: str, says: str, next: str) -> Line:
    return Line(check, "fail", says, next)


def exit_code(lines: Iterable[Line], strict: bool) -> int:
    """1 where something fails, or, when strict, is only a warning."""
    verdicts = {line.verdict for line in lines}
    return int("fail" in verdicts or (strict and "warn" in verdicts))


def as_json(lines: Sequence[Line]) -> str:
    worst = max((line.verdict for line in lines), key=["ok", "warn", "fail"].index, default="ok")
    return json.dumps({"verdict": worst, "checks": [asdict(line) for line in lines]}, indent=2)


def show(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.text import Text

    from sagahook.cli.sagas_view import plain

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        said = Text(f"{line.verdict:<5}", style=_COLOURS[line.verdict])
        said.append(f"{line.check:<18}", style="bold")
        said.append(plain(line.says), style="")
        console.print(said)
        if line.next is not None:
            console.print(Text(f"{'':<23}→ {plain(line.next)}", style="dim"))
