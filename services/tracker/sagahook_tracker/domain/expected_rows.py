"""What the log tells, as rows that can be compared with PostgreSQL's: a value for each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from orjson import loads

from sagahook_tracker.domain.attempts import Attempt
from sagahook_tracker.domain.attributes import listed
from sagahook_tracker.domain.changes import Audited, Controlled, Deployed, Route
from sagahook_tracker.domain.deliveries import Delivered
from sagahook_tracker.domain.differences import Key, Row
from sagahook_tracker.domain.runs import TASK_STATUSES, Run

Rows = dict[Key, dict[str, Any]]


def fields_of(row: Any) -> dict[str, Any]:
    """Of a dataclass or a named tuple."""
    fields: dict[str, Any] = row._asdict() if hasattr(row, "_asdict") else asdict(row)
    return fields


def text(value: str) -> str:
    """As PostgreSQL can hold it."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def plain(value: Any) -> Any:
    """For comparison: what JSON makes of it, and no character that PostgreSQL does not hold."""
    match value:
        case str():
            return text(value)
        case Mapping():
            return {plain(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


def plain_row(row: Row) -> dict[str, Any]:
    return {column: plain(value) for column, value in row.items()}


def route_row(route: Route) -> dict[str, Any]:
    row = {
        name: getattr(route, name)
        for name in ("number", "event_id", "outcome", "reason", "routed_at", "reprocess")
    }
    return plain_row(
        {
            **row,
            "sagas": [saga.model_dump() for saga in route.sagas],
            "errors": [error.model_dump() for error in route.errors],
        }
    )


def run_row(run: Run) -> dict[str, Any]:
    row = fields_of(run)
    row["progress"] = row.pop("said_progress")
    row["parent"] = None if run.parent is None else run.parent.model_dump()
    row["status"] = TASK_STATUSES[run.state]
    return plain_row(row)


def attribute_rows(run: Run) -> Iterator[dict[str, Any]]:
    for attribute, word in listed(plain(run.attributes or {})):
        yield {
            "attribute": attribute,
            "word": word,
            "started_at": run.started_at,
            "number": run.number,
        }


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    row = fields_of(attempt)
    names = ("saga_id", "run", "step", "phase", "attempt")
    return plain_row({**dict(zip(names, row.pop("key"), strict=True)), **row})


def outcome_row(told: Delivered) -> dict[str, Any]:
    names = ("attempt", "what", "number", "at", "status_code", "error", "next_attempt_at")
    return plain_row({"delivery_id": told.told.delivery_id, **{name: getattr(told, name) for name in names}})


def delivery_rows(outcomes: Iterable[Delivered]) -> Rows:
    of: defaultdict[str, list[Delivered]] = defaultdict(list)
    for told in outcomes:
        of[told.told.delivery_id].append(told)
    return {(delivery_id,): _delivery_row(all_told) for delivery_id, all_told in of.items()}


def _delivery_row(all_told: list[Delivered]) -> dict[str, Any]:
    """As its newest attempt left it."""
    last = max(all_told, key=lambda told: told.rank)
    said = last.told
    names = ("delivery_id", "endpoint_id", "event_id", "event_type", "saga_id", "correlation_id")
    return plain_row(
        {
            **{name: getattr(said, name) for name in names},
            "run": last.run,
            "number": min(told.number for told in all_told),
            "status": last.status,
            "attempts": last.attempt,
            "error": last.error,
            "status_code": last.status_code,
            "next_attempt_at": last.next_attempt_at,
            "first_at": min(told.at for told in all_told),
            "updated_at": last.at,
        }
    )


def audit_row(row: Audited) -> dict[str, Any]:
    return plain_row({"audit_id": row.audit_id, "number": row.number, **row.told.model_dump()})


def definition_row(row: Deployed) -> dict[str, Any]:
    definition = row.definition
    return plain_row(
        {
            "name": definition.name,
            "version": definition.version,
            "number": row.number,
            "hash": definition.hash,
            "definition": loads(definition.model_dump_json(exclude_defaults=True)),
            "deployed_at": row.deployed_at,
        }
    )


def control_row(row: Controlled) -> dict[str, Any]:
    control = row.control
    names = ("kind", "name", "paused", "actor", "reason")
    return plain_row(
        {**{name: getattr(control, name) for name in names}, "number": row.number, "set_at": control.at}
    )
