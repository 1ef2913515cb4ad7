"""What two tellings of the same rows disagree in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

Key = tuple[Any, ...]
Row = Mapping[str, Any]

MOST = 100
"""Differences that are named; beyond them they are counted."""

_SHOWN = frozenset(
    {
        *("state", "status", "outcome", "kind", "phase", "what", "step", "name", "type", "source", "cause"),
        *(
            "event_id",
            "saga_id",
            "delivery_id",
            "task_id",
            "endpoint_id",
            "suspended_in",
            "hash",
            "event_type",
        ),
        *("correlation_id", "definition_hash", "limit_key", "failed_step", "service", "action", "role"),
    }
)
"""Columns whose texts cannot hold a secret. Of others only the length and a digest are told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """stored, told: how the views and the log have the column; column None: the whole row is on one side alone."""

    table: str
    key: Key
    column: str | None
    stored: Any
    told: Any

    def __str__(self) -> str:
        row = f"{self.table} ({', '.join(map(str, self.key))})"
        if self.column is not None:
            stored, told = shown(self.column, self.stored), shown(self.column, self.told)
            return f"{row}: {self.column} is {stored}, but the log says {told}"
        if self.stored is None:
            return f"{row}: the row is missing; the log tells of it"
        return f"{row}: the row is there, but the log tells nothing of it"


@dataclass(slots=True)
class Report:
    """differences: the first ones of `count`. compared: rows, by table."""

    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        self.count += 1
        if len(self.differences) < MOST:
            self.differences.append(difference)


def compare(report: Report, table: str, key: Key, stored: Row, told: Row) -> None:
    """A column that only one of them has is a difference too: nothing goes unverified."""
    report.compared[table] += 1
    for column in sorted({*stored, *told}):
        if column not in told or column not in stored or stored[column] != told[column]:
            report.add(Difference(table, key, column, stored.get(column), told.get(column)))


def missing(
    report: Report,
    table: str,
    *,
    told: Iterable[tuple[Key, Row]] = (),
    stored: Iterable[tuple[Key, Row]] = (),
) -> None:
    """Rows of which only the log tells, or which only the views have."""
    for key, row in told:
        report.add(Difference(table, key, None, None, row))
    for key, row in stored:
        report.add(Difference(table, key, None, row, None))


def shown(column: str, value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | datetime):
        return str(value)
    if column in _SHOWN and isinstance(value, str):
        return repr(value)
    text = value if isinstance(value, str) else repr(value)
    return f"<{len(text)} characters, SHA-256 {sha256(text.encode(errors='replace')).hexdigest()[:12]}>"
