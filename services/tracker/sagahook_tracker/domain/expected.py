"""The rows that the views must hold, told by the log: by the projector's fold where rows are one record's or one run's
own, and anew, without its SQL, where they come from several."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sagahook_tracker.domain.attempts import Attempt, AttemptKey
from sagahook_tracker.domain.changes import Audited, Controlled, Deployed, Event, Link, Route, Webhook, fold
from sagahook_tracker.domain.deliveries import Delivered, OutcomeKey
from sagahook_tracker.domain.differences import Key, Row
from sagahook_tracker.domain.expected_rows import (
    Rows,
    attempt_row,
    attribute_rows,
    audit_row,
    control_row,
    definition_row,
    delivery_rows,
    fields_of,
    outcome_row,
    plain_row,
    route_row,
    run_row,
    text,
)
from sagahook_tracker.domain.history import Entry
from sagahook_tracker.domain.runs import FINAL, Run, RunKey

_K = TypeVar("_K")
_V = TypeVar("_V")

_MILLISECOND = timedelta(milliseconds=1)

_OUTCOMES = {
    "step.completed": "completed",
    "step.failed": "failed",
    "step.attempt_lost": "lost",
    "step.continued": "continued",
}
"""How an attempt ended. One may do so twice: a wait for a signal or a child that failed, and was begun anew."""


@dataclass(slots=True)
class OfPartition:
    """What one partition of every topic tells, record by record in the log's order."""

    webhooks: dict[str, Webhook] = field(default_factory=dict)
    routes: dict[tuple[str, int], Route] = field(default_factory=dict)
    links: dict[tuple[str, str, int], Link] = field(default_factory=dict)
    runs: dict[RunKey, Run] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)
    deliveries: dict[OutcomeKey, Delivered] = field(default_factory=dict)
    audit: dict[str, Audited] = field(default_factory=dict)
    definitions: dict[str, Deployed] = field(default_factory=dict)
    controls: dict[str, Controlled] = field(default_factory=dict)

    def add(self, events: Iterable[Event]) -> None:
        changes = fold(events, self.runs)
        self.runs.update(changes.runs)
        self.history += changes.history
        self.routes.update(changes.routes)
        self.definitions.update(changes.definitions)
        self.controls.update(changes.controls)
        _keep_first(self.webhooks, changes.webhooks)
        _keep_first(self.links, changes.links)
        _keep_first(self.deliveries, changes.deliveries)
        _keep_first(self.audit, changes.audit)
        for attempt, told in changes.attempts.items():
            earlier = self.attempts.get(attempt)
            if earlier is not None:
                told.number = earlier.number
                told.started_at = earlier.started_at or told.started_at
                told.participant = earlier.participant or told.participant
            self.attempts[attempt] = told

    def tables(self) -> Iterator[tuple[str, Rows]]:
        yield "webhooks", {(row.event_id,): plain_row(fields_of(row)) for row in self.webhooks.values()}
        yield "routes", {(row.event_id, row.number): route_row(row) for row in self.routes.values()}
        yield "runs", {run.key: run_row(run) for run in self.runs.values()}
        yield (
            "attributes",
            {
                (run.number, row["attribute"]): row
                for run in self.runs.values()
                for row in attribute_rows(run)
            },
        )
        yield (
            "history",
            {(entry.saga_id, entry.number): plain_row(fields_of(entry)) for entry in self.history},
        )
        yield "attempts", {key: attempt_row(attempt) for key, attempt in self.attempts.items()}
        yield "delivery_attempts", {key: outcome_row(told) for key, told in self.deliveries.items()}
        yield "deliveries", delivery_rows(self.deliveries.values())
        yield "audit", {(row.audit_id,): audit_row(row) for row in self.audit.values()}
        yield (
            "definitions",
            {
                (row.definition.name, row.definition.version): definition_row(row)
                for row in self.definitions.values()
            },
        )
        yield (
            "controls",
            {(row.control.kind, row.control.name): control_row(row) for row in self.controls.values()},
        )


@dataclass(slots=True)
class OfAll:
    """What only all partitions together tell: what each event and run comes down to."""

    webhooks: dict[str, tuple[int, datetime, str, str]] = field(default_factory=dict)
    routes: defaultdict[str, list[Route]] = field(default_factory=lambda: defaultdict(list))
    links: dict[tuple[str, str, int], Link] = field(default_factory=dict)
    ends: dict[RunKey, tuple[str, datetime | None]] = field(default_factory=dict)
    counts: Counter[Key] = field(default_factory=Counter)
    milliseconds: Counter[Key] = field(default_factory=Counter)

    def add(self, part: OfPartition) -> None:
        for row in part.webhooks.values():
            self.webhooks[row.event_id] = (row.number, row.received_at, row.source, row.event_type)
        for route in part.routes.values():
            self.routes[route.event_id].append(route)
        self.links.update(part.links)
        for run in part.runs.values():
            self.ends[run.key] = (run.state, run.finished_at)
            taken = run.finished_at - run.started_at if run.finished_at and run.started_at else timedelta()
            taken = taken if run.state in FINAL else timedelta()
            self._count(run.started_at, "saga", run.source or "", run.name, run.state.lower(), taken)
        for entry in part.history:
            outcome = _OUTCOMES.get(entry.type)
            if outcome is not None:
                of = part.runs[entry.saga_id, entry.run]
                outcome = "unknown" if entry.metadata.get("outcome") == "unknown" else outcome
                taken = timedelta(milliseconds=entry.metadata.get("duration_ms", 0))
                self._count(entry.at, "attempt", of.source or "", of.name, outcome, taken)

    def tables(self) -> Iterator[tuple[str, Rows]]:
        yield "links", {key: plain_row(fields_of(link)) for key, link in self.links.items()}
        yield "asked", self._asked()
        standings = self._standings()
        for (event_id,), row in standings.items():
            self._count_webhook(event_id, row)
        yield "standings", standings
        yield "rollups", self._rollups()

    def _count_webhook(self, event_id: str, standing: Row) -> None:
        if standing["number"] is None:
            return
        _, received_at, source, event_type = self.webhooks[event_id]
        ended = max(filter(None, (standing["routed_at"], standing["settled_at"])), default=received_at)
        taken = ended - received_at if standing["processed"] else timedelta()
        self._count(received_at, "webhook", source, event_type, standing["outcome"], taken)

    def _count(
        self, at: datetime | None, kind: str, source: str, name: str, outcome: str, taken: timedelta
    ) -> None:
        minutes = [None] if at is None else [None, at.replace(second=0, microsecond=0)]
        for minute in minutes:
            place = (minute, kind, text(source), text(name), outcome)
            self.counts[place] += 1
            self.milliseconds[place] += max(0, taken // _MILLISECOND)

    def _asked(self) -> Rows:
        rows: Rows = {}
        for event_id, routes in self.routes.items():
            for route in sorted(routes, key=lambda route: route.number):
                for saga in route.sagas:
                    row = {
                        "saga_id": saga.saga_id,
                        "event_id": event_id,
                        "name": saga.name,
                        "correlation_id": route.correlation_id,
                        "asked_at": route.routed_at,
                    }
                    rows.setdefault((saga.saga_id, event_id), plain_row(row))
        return rows

    def _standings(self) -> Rows:
        newest: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for event_id, saga_id, run in self.links:
            newest[event_id][saga_id] = max(run, newest[event_id].get(saga_id, 0))
        events = {*self.webhooks, *self.routes, *newest}
        return {(event_id,): self._standing(event_id, newest.get(event_id, {})) for event_id in events}

    def _standing(self, event_id: str, newest: Mapping[str, int]) -> dict[str, Any]:
        number, received_at, _, _ = self.webhooks.get(event_id, (None, None, "", ""))
        routes = sorted(self.routes.get(event_id, ()), key=lambda route: route.number)
        ends = [self.ends.get((saga_id, run), ("PENDING", None)) for saga_id, run in newest.items()]
        asked = {saga.saga_id for route in routes for saga in route.sagas} - set(newest)
        completed = sum(state == "COMPLETED" for state, _ in ends)
        failed = sum(state in ("ROLLED_BACK", "FAILED") for state, _ in ends)
        row: dict[str, Any] = {
            "event_id": text(event_id),
            "number": number,
            "received_at": received_at,
            "routed_at": routes[0].routed_at if routes else None,
            "reprocessed": sum(route.reprocess is not None for route in routes),
            "open": len(asked) + len(ends) - completed - failed,
            "completed": completed,
            "failed": failed,
            "lost": max(len(routes[-1].errors), routes[-1].outcome == "failed") if routes else 0,
            "settled_at": max((at for state, at in ends if state in FINAL and at), default=None),
        }
        row["processed"] = number is not None and bool(routes) and row["open"] == 0
        row["outcome"] = _outcome(row)
        return row

    def _rollups(self) -> Rows:
        return {
            place: {
                **dict(zip(("minute", "kind", "source", "type", "outcome"), place, strict=True)),
                "count": count,
                "total_ms": self.milliseconds[place],
            }
            for place, count in self.counts.items()
        }


def _keep_first(known: dict[_K, _V], new: Mapping[_K, _V]) -> None:
    for key, row in new.items():
        known.setdefault(key, row)


def _outcome(row: Row) -> str | None:
    if row["number"] is None:
        return None
    if row["routed_at"] is None:
        return "received"
    if row["open"]:
        return "processing"
    if row["failed"] + row["lost"]:
        return "completed_with_failures" if row["completed"] else "failed"
    return "completed" if row["completed"] else "ignored"
