"""Brings stored rows together with what the log tells, but for what was let go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sagahook_tracker.domain.differences import Key, Report, compare, missing
from sagahook_tracker.domain.expected import OfPartition
from sagahook_tracker.domain.expected_rows import Rows, fields_of, plain
from sagahook_tracker.domain.retention import Cutoff, Kind
from sagahook_tracker.domain.runs import Act, RunKey, Step

KEYS: Mapping[str, tuple[str, ...]] = {
    "webhooks": ("event_id",),
    "routes": ("event_id", "number"),
    "asked": ("saga_id", "event_id"),
    "links": ("event_id", "saga_id", "run"),
    "standings": ("event_id",),
    "runs": ("saga_id", "run"),
    "attributes": ("number", "attribute"),
    "history": ("saga_id", "number"),
    "attempts": ("saga_id", "run", "step", "phase", "attempt"),
    "rollups": ("minute", "kind", "source", "type", "outcome"),
    "deliveries": ("delivery_id",),
    "delivery_attempts": ("delivery_id", "attempt", "what"),
    "audit": ("audit_id",),
    "definitions": ("name", "version"),
    "controls": ("kind", "name"),
}
"""The tables that are compared, and what tells their rows apart."""

_TOPICS = {
    "webhooks": "webhooks.received",
    "routes": "webhooks.routed",
    **dict.fromkeys(("runs", "attributes", "history", "attempts"), "saga.events"),
    **dict.fromkeys(("deliveries", "delivery_attempts"), "notifications"),
    "audit": "audit",
}
_OF_SEVERAL = frozenset({"asked", "links", "standings", "rollups"})
"""Where the log is not whole any more, nobody can say what these must hold."""

_NEVER = datetime.min.replace(tzinfo=UTC)


class Matching:
    """`begin` with each partition of the log; then `match` each stored row of a table, and `rest` the table. What is
    matched is taken from the rows told."""

    def __init__(self, report: Report, cutoffs: Iterable[Cutoff]) -> None:
        known = {cutoff.kind: cutoff for cutoff in cutoffs}
        self._report = report
        self._before: dict[Kind, datetime] = {kind: cutoff.before for kind, cutoff in known.items()}
        self._rows = known["history"].rows if "history" in known else None
        self._old_events: set[str] = set()
        self._old_runs: set[RunKey] = set()
        self._old_numbers: set[int] = set()
        self._old_deliveries: set[str] = set()
        self._partial_runs: set[RunKey] = set()
        self._last: dict[RunKey, int] = {}
        self._begins: Mapping[str, int] = {}
        self._whole = True

    def begin(self, part: OfPartition, begins: Mapping[str, int]) -> None:
        """begins: the first offset that the log still has, by topic."""
        self._begins = begins
        self._whole = self._whole and not any(begins.get(topic) for topic in _TOPICS.values())
        finished, deliveries = self._cutoff("finished"), self._cutoff("deliveries")
        self._old_events |= {row.event_id for row in part.webhooks.values() if row.received_at < finished}
        self._last = {run.key: run.sequence for run in part.runs.values()}
        old = [
            run
            for run in part.runs.values()
            if run.finished_at is not None and max(run.finished_at, run.updated_at or _NEVER) < finished
        ]
        self._old_runs |= {run.key for run in old}
        self._old_numbers |= {run.number for run in old}
        self._old_deliveries |= {
            told.told.delivery_id for told in part.deliveries.values() if told.at < deliveries
        }

    def match(self, table: str, stored: dict[str, Any], told: Rows) -> None:
        row = _comparable(table, stored)
        key = tuple(row[column] for column in KEYS[table])
        wanted = told.pop(key, None)
        if self._is_before_the_log(table, row) or self._is_let_go(table, key, row):
            return
        if wanted is None:
            if row.get("count") != 0 or table != "rollups":
                missing(self._report, table, stored=[(key, row)])
            return
        if table == "standings" and wanted["routed_at"] is None:
            # What a link brings is counted with the route, which the projector has still to read.
            row["open"] = wanted["open"]
        compare(self._report, table, key, row, wanted)

    def rest(self, table: str, told: Rows) -> None:
        """What is left of the rows told is nowhere stored."""
        if self._whole or table not in _OF_SEVERAL:
            left = ((key, row) for key, row in told.items() if not self._may_be_missing(table, key, row))
            missing(self._report, table, told=left)

    def _cutoff(self, kind: Kind) -> datetime:
        return self._before.get(kind, _NEVER)

    def _is_before_the_log(self, table: str, row: Mapping[str, Any]) -> bool:
        """Whether the log no longer has all that told of the row."""
        if table in _OF_SEVERAL:
            return not self._whole
        run = (row.get("saga_id", ""), row.get("run", 0))
        if row["number"] >> 16 < self._begins.get(_TOPICS.get(table, ""), 0):
            if table == "runs":
                self._partial_runs.add(run)
            return True
        return table in ("history", "attempts") and run in self._partial_runs

    def _is_let_go(self, table: str, key: Key, row: Mapping[str, Any]) -> bool:
        """Whether it does not count, be it still there or not."""
        match table:
            case "history":
                run = (row["saga_id"], row["run"])
                over = self._rows is not None and row["sequence"] <= self._last.get(run, 0) - self._rows
                return bool(over or row["at"] < self._cutoff("history"))
            case "audit":
                return bool(row["at"] < self._cutoff("audit"))
            case "rollups":
                return bool(row["minute"] is not None and row["minute"] < self._cutoff("rollups"))
            case "deliveries" | "delivery_attempts":
                return key[0] in self._old_deliveries
        return False

    def _may_be_missing(self, table: str, key: Key, row: Mapping[str, Any]) -> bool:
        run = (row.get("saga_id", ""), row.get("run", 0))
        old = {
            "webhooks": key[0] in self._old_events,
            "routes": key[0] in self._old_events,
            # Or an event of which only a saga tells yet.
            "standings": key[0] in self._old_events
            or (row.get("number") is None and row.get("routed_at") is None),
            "asked": key[-1] in self._old_events,
            "links": key[0] in self._old_events or run in self._old_runs,
            "runs": run in self._old_runs or run in self._partial_runs,
            "attributes": row.get("number") in self._old_numbers,
            "attempts": run in self._old_runs or run in self._partial_runs,
            "history": run in self._partial_runs,
        }
        return old.get(table, False) or self._is_let_go(table, key, row)


def _comparable(table: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    row = {column: plain(value) for column, value in stored.items()}
    if table == "runs":
        row["steps"] = [fields_of(Step(**step)) for step in row["steps"]]
        row["acts"] = [fields_of(Act(**act)) for act in row["acts"]]
    if table == "rollups" and row["minute"].year == 1:  # -infinity
        row["minute"] = None
    return row
