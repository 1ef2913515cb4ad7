"""The services' logs as they grow, one coloured line each, for the person at the terminal."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.2
_COLOURS = (36, 35, 33, 32, 34, 96, 95, 93)  # ANSI foregrounds, easy to tell apart on dark and on light
_LEAD = ("timestamp", "level", "event", "logger", "service", "instance")


async def follow(logs: Mapping[str, Path], write: Callable[[str], None], *, colour: bool) -> None:
    """Passes on every whole line that is appended from now on, until it is cancelled."""
    width = max(map(len, logs), default=0)
    with ExitStack() as files:
        tails = []
        for number, (name, path) in enumerate(logs.items()):
            path.touch()
            file = files.enter_context(path.open(encoding="utf-8", errors="replace"))
            file.seek(0, os.SEEK_END)
            prefix = f"{name:<{width}} │ "
            if colour:
                prefix = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{prefix}\x1b[0m"
            tails.append((prefix, _Tail(file)))
        while True:
            for prefix, tail in tails:
                for line in tail.lines():
                    write(prefix + readable(line))
            await asyncio.sleep(_POLL_SECONDS)


def readable(line: str) -> str:
    """A structured line as text: time, level, event, then the rest as key=value. Other lines stay as they are."""
    if not line.startswith("{"):
        return line
    try:
        record = json.loads(line)
    except ValueError:
        return line
    time = str(record.get("timestamp", ""))[11:19]
    rest = " ".join(f"{key}={value}" for key, value in record.items() if key not in _LEAD)
    return f"{time} {record.get('level', ''):<7} {record.get('event', '')} {rest}".rstrip()


class _Tail:
    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._partial = ""

    def lines(self) -> list[str]:
        *whole, self._partial = (self._partial + self._file.read()).split("\n")
        return whole
