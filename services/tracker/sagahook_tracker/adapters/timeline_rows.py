"""From the rows of the views to the entries of a timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from orjson import loads

from sagahook_schemas.commands import ParentStep
from sagahook_schemas.topics import NOTIFICATIONS, SAGA_EVENTS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from sagahook_tracker.adapters.rows import steps_of
from sagahook_tracker.domain.runs import RunKey, State
from sagahook_tracker.domain.status import EventView, SagaView
from sagahook_tracker.domain.timeline import Entry, Place

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """root: it is what was asked about, or was asked for by a webhook that was; else a saga below one. sequence: how
    many events its log has."""

    root: bool
    saga_id: str
    run: int
    sequence: int
    name: str
    version: int
    state: State
    held: bool
    error: str | None
    parent: ParentStep | None
    source: str | None
    correlation_id: str | None
    started_at: datetime | None
    updated_at: datetime | None
    finished_at: datetime | None
    view: SagaView

    @property
    def key(self) -> RunKey:
        return self.saga_id, self.run


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    saga_id: str
    run: int
    correlation_id: str
    status: str
    attempts: int
    error: str | None
    status_code: int | None
    next_attempt_at: datetime | None
    first_at: datetime
    updated_at: datetime


def run_of(row: Row) -> RunSummary:
    fields = dict(row)
    if fields["parent"] is not None:
        fields["parent"] = ParentStep.model_validate_json(fields["parent"])
    view = SagaView(
        row["saga_id"], row["name"], row["run"], row["state"], row["error"], steps_of(fields.pop("steps"))
    )
    return RunSummary(**fields, view=view)


def received(row: Row) -> Entry:
    return Entry(
        place=Place.of(WEBHOOKS_RECEIVED.base, row["number"]),
        at=row["received_at"],
        type="webhook.received",
        correlation_id=row["correlation_id"],
        event_id=row["event_id"],
        name=row["source"],
        message=row["event_type"] or None,
        size=row["size"],
        details={
            name: row[name] for name in ("delivery_id", "content_type", "size") if row[name] is not None
        },
    )


def routed(row: Row) -> Entry:
    sagas, errors = loads(row["sagas"]), loads(row["errors"])
    details = {"sagas": sagas, "errors": errors, "reprocess": row["reprocess"]}
    return Entry(
        place=Place.of(WEBHOOKS_ROUTED.base, row["number"]),
        at=row["routed_at"],
        type="webhook.routed",
        correlation_id=row["correlation_id"] or "",
        event_id=row["event_id"],
        status=row["outcome"],
        error="; ".join(f"{each['name']}: {each['error']}" for each in errors)
        or (row["reason"] if row["outcome"] == "failed" else None),
        message=row["reason"] or ", ".join(each["name"] for each in sagas) or None,
        details={name: value for name, value in details.items() if value},
    )


def saga_events(rows: Sequence[Row], runs: Sequence[RunSummary], links: Sequence[Row]) -> list[Entry]:
    by_key = {run.key: run for run in runs}
    asked_by = {(link["saga_id"], link["run"], link["linked_at"]): link["event_id"] for link in links}
    return [_saga_event(row, by_key[row["saga_id"], row["run"]], asked_by) for row in rows]


def _saga_event(row: Row, run: RunSummary, asked_by: Mapping[tuple[str, int, datetime], str]) -> Entry:
    details = loads(row["metadata"])
    failed = row["type"] in (
        "step.failed",
        "saga.failed",
        "saga.failing",
        "saga.rolled_back",
        "saga.compensating",
    )
    duration = details.get("duration_ms")
    if (
        row["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED")
        and row["type"].startswith("saga.")
        and run.started_at
    ):
        duration = (row["at"] - run.started_at).total_seconds() * 1000
    asks = row["type"] in ("saga.started", "saga.joined")
    return Entry(
        place=Place.of(SAGA_EVENTS.base, row["number"]),
        at=row["at"],
        type=row["type"],
        correlation_id=row["correlation_id"] or run.correlation_id or "",
        traceparent=row["traceparent"],
        event_id=asked_by.get((row["saga_id"], row["run"], row["at"])) if asks else None,
        name=run.name,
        saga_id=row["saga_id"],
        run=row["run"],
        sequence=row["sequence"],
        step=row["step"],
        phase=details.get("phase"),
        attempt=details.get("attempt"),
        status=row["state"],
        error=details.get("error") or (row["message"] if failed else None),
        message=row["message"],
        duration_ms=duration,
        details=details,
    )


def delivered(rows: Sequence[Row], deliveries: Sequence[DeliverySummary]) -> list[Entry]:
    by_id = {each.delivery_id: each for each in deliveries}
    return [_delivery(row, by_id[row["delivery_id"]]) for row in rows]


def _delivery(row: Row, delivery: DeliverySummary) -> Entry:
    details = {
        "endpoint_id": delivery.endpoint_id,
        "event_type": delivery.event_type,
        "status_code": row["status_code"],
        "next_attempt_at": row["next_attempt_at"],
    }
    return Entry(
        place=Place.of(NOTIFICATIONS.base, row["number"]),
        at=row["at"],
        type=f"delivery.{row['what']}",
        correlation_id=delivery.correlation_id,
        name=delivery.endpoint_id,
        attempt=row["attempt"],
        delivery_id=row["delivery_id"],
        follows=delivery.event_id,
        status=row["what"],
        error=row["error"],
        message=delivery.event_type,
        details={name: value for name, value in details.items() if value is not None},
    )


def views(
    events: Sequence[str],
    routes: Sequence[Row],
    links: Sequence[Row],
    runs: Sequence[RunSummary],
) -> list[EventView]:
    """How each webhook stands, or, where none is told of, the sagas that were asked about: by their newest runs."""
    newest = {run.saga_id: run.view for run in sorted(runs, key=lambda run: run.run)}
    if not events:
        roots = {run.saga_id: newest[run.saga_id] for run in runs if run.root}
        return [EventView("", "triggered", sagas=tuple(roots.values()))]
    route_of = {row["event_id"]: row for row in sorted(routes, key=lambda row: row["number"])}
    linked = {
        event: [link["saga_id"] for link in group]
        for event, group in groupby(sorted(links, key=_by_event), key=_by_event)
    }
    return [_view(event, route_of.get(event), linked.get(event, []), newest) for event in events]


def _by_event(link: Row) -> str:
    event: str = link["event_id"]
    return event


def _view(event: str, route: Row | None, linked: Sequence[str], newest: Mapping[str, SagaView]) -> EventView:
    asked = loads(route["sagas"]) if route is not None else []
    sagas = {each["saga_id"]: SagaView(each["saga_id"], each["name"]) for each in asked}
    sagas |= {saga_id: newest[saga_id] for saga_id in (*sagas, *linked) if saga_id in newest}
    if route is None:
        return EventView(event, sagas=tuple(sagas.values()))
    errors = loads(route["errors"])
    return EventView(event, route["outcome"], route["reason"], tuple(sagas.values()), len(errors))


def untold(runs: Sequence[RunSummary], history: Sequence[Row]) -> dict[RunKey, int]:
    """Of each run how many of its first events the views have let go (the log still has them)."""
    first: dict[RunKey, int] = {}
    for row in history:
        key = (row["saga_id"], row["run"])
        first[key] = min(row["sequence"], first.get(key, row["sequence"]))
    missing = {run.key: first.get(run.key, run.sequence + 1) - 1 for run in runs}
    return {key: count for key, count in missing.items() if count}
