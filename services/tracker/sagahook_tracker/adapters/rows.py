"""Between the domain's values and PostgreSQL's: columns for a batch, values for a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from orjson import dumps, loads

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import ParentStep
from sagahook_tracker.domain.attempts import Attempt
from sagahook_tracker.domain.changes import Controlled, Deployed, Link, Route, Webhook
from sagahook_tracker.domain.history import Entry
from sagahook_tracker.domain.rollups import Rollups
from sagahook_tracker.domain.runs import Act, Run, Step

Columns = dict[str, list[Any]]
"""By the name of the query's parameter; one element for each row."""


def text(value: str) -> str:
    """PostgreSQL's text holds every character but this one, which a webhook may well send."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def offsets_of(rows: Iterable[Mapping[str, Any]]) -> dict[TopicPartition, int]:
    return {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def maybe_text(value: str | None) -> str | None:
    return None if value is None else text(value)


def as_json(value: Any) -> str:
    return dumps(value).decode()


def without_nul(value: JsonValue) -> JsonValue:
    """As a value for jsonb, which the pool writes and reads as such: it refuses the same one character."""
    match value:
        case str():
            return text(value)
        case list():
            return [without_nul(each) for each in value]
        case dict():
            return {text(key): without_nul(each) for key, each in value.items()}
    return value


def webhook_columns(webhooks: Iterable[Webhook]) -> Columns:
    rows = list(webhooks)
    return {
        "event_ids": [text(row.event_id) for row in rows],
        "numbers": [row.number for row in rows],
        "sources": [text(row.source) for row in rows],
        "correlation_ids": [text(row.correlation_id) for row in rows],
        "event_types": [text(row.event_type) for row in rows],
        "received_at": [row.received_at for row in rows],
        "delivery_ids": [maybe_text(row.delivery_id) for row in rows],
        "task_ids": [row.task_id for row in rows],
        "content_types": [maybe_text(row.content_type) for row in rows],
        "sizes": [row.size for row in rows],
        "headers": [None if row.headers is None else as_json(row.headers) for row in rows],
    }


def route_columns(routes: Iterable[Route]) -> Columns:
    rows = list(routes)
    return {
        "event_ids": [text(row.event_id) for row in rows],
        "numbers": [row.number for row in rows],
        "outcomes": [row.outcome for row in rows],
        "reasons": [maybe_text(row.reason) for row in rows],
        "sagas": [
            as_json([{"saga_id": saga.saga_id, "name": saga.name} for saga in row.sagas]) for row in rows
        ],
        "errors": [
            as_json([{"name": error.name, "error": error.error} for error in row.errors]) for row in rows
        ],
        "routed_at": [row.routed_at for row in rows],
        "reprocesses": [maybe_text(row.reprocess) for row in rows],
    }


def asked_columns(routes: Iterable[Route]) -> Columns:
    rows = [(route, saga) for route in routes for saga in route.sagas]
    return {
        "saga_ids": [text(saga.saga_id) for _, saga in rows],
        "event_ids": [text(route.event_id) for route, _ in rows],
        "names": [text(saga.name) for _, saga in rows],
        "correlation_ids": [text(route.correlation_id) for route, _ in rows],
        "asked_at": [route.routed_at for route, _ in rows],
    }


def link_columns(links: Iterable[Link]) -> Columns:
    rows = list(links)
    return {
        "event_ids": [text(row.event_id) for row in rows],
        "saga_ids": [text(row.saga_id) for row in rows],
        "runs": [row.run for row in rows],
        "correlation_ids": [text(row.correlation_id) for row in rows],
        "linked_at": [row.linked_at for row in rows],
    }


def attempt_columns(attempts: Iterable[Attempt]) -> Columns:
    rows = list(attempts)
    return {
        "saga_ids": [text(row.key[0]) for row in rows],
        "runs": [row.key[1] for row in rows],
        "steps": [text(row.key[2]) for row in rows],
        "phases": [row.key[3] for row in rows],
        "attempts": [row.key[4] for row in rows],
        "numbers": [row.number for row in rows],
        "started_at": [row.started_at for row in rows],
        "completed_at": [row.completed_at for row in rows],
        "statuses": [row.status for row in rows],
        "errors": [maybe_text(row.error) for row in rows],
        "durations": [row.duration_ms for row in rows],
        "participants": [maybe_text(row.participant) for row in rows],
    }


def history_columns(entries: Iterable[Entry]) -> Columns:
    rows = list(entries)
    return {
        "numbers": [row.number for row in rows],
        "saga_ids": [text(row.saga_id) for row in rows],
        "runs": [row.run for row in rows],
        "sequences": [row.sequence for row in rows],
        "at": [row.at for row in rows],
        "types": [row.type for row in rows],
        "statuses": [row.status for row in rows],
        "states": [row.state for row in rows],
        "steps": [maybe_text(row.step) for row in rows],
        "progress": [row.progress for row in rows],
        "messages": [maybe_text(row.message) for row in rows],
        "metadata": [as_json(row.metadata) for row in rows],
        "correlation_ids": [maybe_text(row.correlation_id) for row in rows],
        "traceparents": [maybe_text(row.traceparent) for row in rows],
    }


def trimmed_columns(long: Iterable[tuple[Run, int]]) -> Columns:
    """Each run, and up to which sequence nothing of it is kept."""
    rows = list(long)
    return {
        "saga_ids": [text(run.saga_id) for run, _ in rows],
        "runs": [run.run for run, _ in rows],
        "sequences": [sequence for _, sequence in rows],
    }


def rollup_columns(rollups: Rollups) -> Columns:
    """A place whose sums are nothing is left out."""
    rows = [
        (place, count, rollups.milliseconds[place])
        for place, count in rollups.counts.items()
        if count or rollups.milliseconds[place]
    ]
    return {
        "minutes": [place[0] for place, _, _ in rows],
        "kinds": [place[1] for place, _, _ in rows],
        "sources": [text(place[2]) for place, _, _ in rows],
        "types": [text(place[3]) for place, _, _ in rows],
        "outcomes": [place[4] for place, _, _ in rows],
        "counts": [count for _, count, _ in rows],
        "milliseconds": [milliseconds for _, _, milliseconds in rows],
    }


def run_columns(runs: Iterable[Run]) -> Columns:
    rows = list(runs)
    return {
        "saga_ids": [text(row.saga_id) for row in rows],
        "runs": [row.run for row in rows],
        "numbers": [row.number for row in rows],
        "sequences": [row.sequence for row in rows],
        "names": [text(row.name) for row in rows],
        "versions": [row.version for row in rows],
        "states": [row.state for row in rows],
        "user_ids": [maybe_text(row.user_id) for row in rows],
        "contexts": [None if row.context is None else as_json(row.context) for row in rows],
        "total_steps": [row.total_steps for row in rows],
        "steps": [as_json(row.steps) for row in rows],
        "completed_steps": [as_json(row.completed_steps) for row in rows],
        "failed_steps": [maybe_text(row.failed_step) for row in rows],
        "errors": [maybe_text(row.error) for row in rows],
        "reasons": [maybe_text(row.reason) for row in rows],
        "definition_hashes": [maybe_text(row.definition_hash) for row in rows],
        "sources": [maybe_text(row.source) for row in rows],
        "correlation_ids": [maybe_text(row.correlation_id) for row in rows],
        "suspended_in": [row.suspended_in for row in rows],
        "attributes": [without_nul(row.attributes) for row in rows],
        "parents": [None if row.parent is None else as_json(row.parent.model_dump()) for row in rows],
        "limit_keys": [maybe_text(row.limit_key) for row in rows],
        "deadlines": [row.deadline_at for row in rows],
        "progress": [row.said_progress for row in rows],
        "messages": [maybe_text(row.message) for row in rows],
        "unresolved": [as_json(row.unresolved) for row in rows],
        "causes": [row.cause for row in rows],
        "acts": [as_json(row.acts) for row in rows],
        "started_at": [row.started_at for row in rows],
        "updated_at": [row.updated_at for row in rows],
        "finished_at": [row.finished_at for row in rows],
        "event_ids": [maybe_text(row.event_id) for row in rows],
        "held": [row.held for row in rows],
        "results": [None if row.result is None else as_json(row.result) for row in rows],
    }


def definition_columns(definitions: Iterable[Deployed]) -> Columns:
    rows = list(definitions)
    return {
        "names": [text(row.definition.name) for row in rows],
        "versions": [row.definition.version for row in rows],
        "numbers": [row.number for row in rows],
        "hashes": [row.definition.hash for row in rows],
        "definitions": [row.definition.model_dump_json(exclude_defaults=True) for row in rows],
        "deployed_at": [row.deployed_at for row in rows],
    }


def control_columns(controls: Iterable[Controlled]) -> Columns:
    rows = list(controls)
    return {
        "kinds": [row.control.kind for row in rows],
        "names": [text(row.control.name) for row in rows],
        "numbers": [row.number for row in rows],
        "paused": [row.control.paused for row in rows],
        "actors": [text(row.control.actor) for row in rows],
        "reasons": [text(row.control.reason) for row in rows],
        "set_at": [row.control.at for row in rows],
    }


def run_of(row: Mapping[str, Any]) -> Run:
    """From the columns of `tracker.runs`, with or without the context."""
    columns = dict(row)
    columns.pop("status", None)  # the state tells it
    columns["steps"] = steps_of(columns["steps"])
    for name in ("completed_steps", "unresolved"):
        columns[name] = tuple(loads(columns[name]))
    for name in ("context", "result"):
        if columns.get(name) is not None:
            columns[name] = loads(columns[name])
    if columns["parent"] is not None:
        columns["parent"] = ParentStep.model_validate_json(columns["parent"])
    columns["acts"] = tuple(Act(**act) for act in loads(columns["acts"]))
    columns["said_progress"] = columns.pop("progress")
    return Run(**columns)


def steps_of(column: str) -> tuple[Step, ...]:
    return tuple(Step(**step) for step in loads(column))
