"""Recorded histories: files with an event a line, each `{type, data, time, saga_id, run, sequence}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from orjson import JSONDecodeError, dumps, loads

from sagahook.testing.log import Happened
from sagahook_schemas.codec import Undecodable


class HistoryError(Exception):
    """Whoever recorded it must act: the file is no history."""


class History(NamedTuple):
    """One run of one saga, from its first event on. file: where it stands."""

    file: str
    events: tuple[Happened, ...]


def history_line(happened: Happened) -> str:
    """Without a line's end."""
    told = {name: getattr(happened, name) for name in ("type", "data", "time", "saga_id", "run", "sequence")}
    return dumps(told).decode()


def write_history(events: Iterable[Happened], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{history_line(event)}\n" for event in events))


def read_histories(file: Path) -> Iterator[History]:
    """The runs that the file holds: one, or several of one saga. Raises HistoryError."""
    runs: dict[tuple[str, int], list[Happened]] = {}
    for number, text in enumerate(file.read_text().splitlines(), 1):
        if text.strip():
            happened = _read(text, f"{file.name}, line {number}")
            runs.setdefault((happened.saga_id, happened.run), []).append(happened)
    if not runs:
        raise HistoryError(f"{file.name} holds no event: record it with `sagahook history SAGA_ID`")
    for (_, run), events in runs.items():
        if [each.sequence for each in events] != list(range(1, len(events) + 1)):
            raise HistoryError(f"{file.name}: run {run} does not have every event from the first on, once")
        if events[0].kind != "saga.started":
            raise HistoryError(f"{file.name}: run {run} begins with {events[0].kind}, not with saga.started")
        yield History(file.name, tuple(events))


def _read(text: str, where: str) -> Happened:
    try:
        told = loads(text)
        happened = Happened(
            str(told["saga_id"]),
            int(told["run"]),
            int(told["sequence"]),
            str(told["type"]),
            dict(told["data"]),
            datetime.fromisoformat(told["time"]),
        )
        happened.event()
    except Undecodable as unfit:
        raise HistoryError(f"{where}: {unfit}") from None
    except (JSONDecodeError, KeyError, TypeError, ValueError) as invalid:
        raise HistoryError(
            f"{where} must be a JSON object with type, data, time, saga_id, run and sequence: {invalid!r}"
        ) from None
    return happened
