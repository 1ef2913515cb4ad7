"""Between the domain's values and PostgreSQL's: rows of a batch to write, and values of a row that was read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from aiokafka import TopicPartition
from orjson import dumps, loads

from sagahook.runtime.batches import Batches
from sagahook_schemas.commands import ParentStep
from sagahook_tracker.domain.attempts import Attempt
from sagahook_tracker.domain.changes import Controlled, Deployed, Link, Route, Webhook
from sagahook_tracker.domain.history import Entry
from sagahook_tracker.domain.rollups import Rollups
from sagahook_tracker.domain.runs import Act, Run, RunKey, Step

_Json = TypeVar("_Json")

Row = dict[str, Any]
"""By the names that store.sql calls its columns. What a column of json holds is text here: as part of the row's own
JSON it could not hold every character."""


def text(value: str) -> str:
    """PostgreSQL's text holds every character but this one, which a webhook may well send."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def offsets_of(rows: Iterable[Mapping[str, Any]]) -> dict[TopicPartition, int]:
    return {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def maybe_text(value: str | None) -> str | None:
    return None if value is None else text(value)


def as_json(value: Any) -> str:
    return dumps(value).decode()


def maybe_json(value: Any) -> str | None:
    return None if value is None else as_json(value)


def moment(time: datetime) -> datetime:
    """As it is written into JSON. Raises OverflowError where that is none of the years 1 to 9999, in which nobody could
    read it again; and a zone may have seconds, which JSON's would be rounded by."""
    return time.astimezone(UTC)


def maybe_moment(time: datetime | None) -> datetime | None:
    return None if time is None else moment(time)


def without_nul(value: _Json) -> _Json:
    """As a value for jsonb, which refuses the same one character."""
    held: Any = value
    match value:
        case str():
            held = text(value)
        case list():
            held = [without_nul(each) for each in value]
        case dict():
            held = {text(key): without_nul(each) for key, each in value.items()}
    return cast("_Json", held)


def offset_rows(batches: Batches) -> Iterator[Row]:
    for partition, batch in batches.items():
        yield {
            "topic": partition.topic,
            "partition": partition.partition,
            "expected": batch.first_offset,
            "next": batch.next_offset,
        }


def key_rows(keys: Collection[RunKey]) -> Iterator[Row]:
    for saga_id, run in sorted(keys):
        yield {"saga_id": text(saga_id), "run": run}


def webhook_row(webhook: Webhook) -> Row:
    return {
        "event_id": text(webhook.event_id),
        "number": webhook.number,
        "source": text(webhook.source),
        "correlation_id": text(webhook.correlation_id),
        "event_type": text(webhook.event_type),
        "received_at": moment(webhook.received_at),
        "delivery_id": maybe_text(webhook.delivery_id),
        "task_id": webhook.task_id,
        "content_type": maybe_text(webhook.content_type),
        "size": webhook.size,
        "headers": maybe_json(webhook.headers),
    }


def route_row(route: Route) -> Row:
    return {
        "event_id": text(route.event_id),
        "number": route.number,
        "outcome": route.outcome,
        "reason": maybe_text(route.reason),
        "sagas": as_json([{"saga_id": saga.saga_id, "name": saga.name} for saga in route.sagas]),
        "errors": as_json([{"name": error.name, "error": error.error} for error in route.errors]),
        "routed_at": moment(route.routed_at),
        "reprocess": maybe_text(route.reprocess),
    }


def asked_rows(routes: Iterable[Route]) -> Iterator[Row]:
    for route in routes:
        for saga in route.sagas:
            yield {
                "saga_id": text(saga.saga_id),
                "event_id": text(route.event_id),
                "name": text(saga.name),
                "correlation_id": text(route.correlation_id),
                "asked_at": moment(route.routed_at),
            }


def link_row(link: Link) -> Row:
    return {
        "event_id": text(link.event_id),
        "saga_id": text(link.saga_id),
        "run": link.run,
        "correlation_id": text(link.correlation_id),
        "linked_at": moment(link.linked_at),
    }


def attempt_row(attempt: Attempt) -> Row:
    saga_id, run, step, phase, count = attempt.key
    return {
        "saga_id": text(saga_id),
        "run": run,
        "step": text(step),
        "phase": phase,
        "attempt": count,
        "number": attempt.number,
        "started_at": maybe_moment(attempt.started_at),
        "completed_at": maybe_moment(attempt.completed_at),
        "status": attempt.status,
        "error": maybe_text(attempt.error),
        "duration_ms": attempt.duration_ms,
        "participant": maybe_text(attempt.participant),
    }


def history_row(entry: Entry, newest: int) -> Row:
    """newest: the run's sequence after the batch, by which it is told what of it is too old to be kept."""
    return {
        "number": entry.number,
        "saga_id": text(entry.saga_id),
        "run": entry.run,
        "sequence": entry.sequence,
        "at": moment(entry.at),
        "type": entry.type,
        "status": entry.status,
        "state": entry.state,
        "step": maybe_text(entry.step),
        "progress": entry.progress,
        "message": maybe_text(entry.message),
        "metadata": as_json(entry.metadata),
        "correlation_id": maybe_text(entry.correlation_id),
        "traceparent": maybe_text(entry.traceparent),
        "newest": newest,
    }


def rollup_rows(rollups: Rollups) -> Iterator[Row]:
    """A place whose sums are nothing is left out."""
    for place, count in rollups.counts.items():
        minute, kind, source, type_, outcome = place
        if count or rollups.milliseconds[place]:
            yield {
                "minute": maybe_moment(minute),
                "kind": kind,
                "source": text(source),
                "type": text(type_),
                "outcome": outcome,
                "count": count,
                "milliseconds": rollups.milliseconds[place],
            }


def run_row(run: Run) -> Row:
    return {
        "saga_id": text(run.saga_id),
        "run": run.run,
        "number": run.number,
        "sequence": run.sequence,
        "name": text(run.name),
        "version": run.version,
        "state": run.state,
        "user_id": maybe_text(run.user_id),
        "context": maybe_json(run.context),
        "total_steps": run.total_steps,
        "steps": as_json(run.steps),
        "completed_steps": as_json(run.completed_steps),
        "failed_step": maybe_text(run.failed_step),
        "error": maybe_text(run.error),
        "reason": maybe_text(run.reason),
        "definition_hash": maybe_text(run.definition_hash),
        "source": maybe_text(run.source),
        "correlation_id": maybe_text(run.correlation_id),
        "suspended_in": run.suspended_in,
        "attributes": maybe_json(without_nul(run.attributes)),
        "parent": None if run.parent is None else as_json(run.parent.model_dump()),
        "limit_key": maybe_text(run.limit_key),
        "deadline_at": maybe_moment(run.deadline_at),
        "progress": run.said_progress,
        "message": maybe_text(run.message),
        "unresolved": as_json(run.unresolved),
        "cause": run.cause,
        "acts": as_json(run.acts),
        "started_at": maybe_moment(run.started_at),
        "updated_at": maybe_moment(run.updated_at),
        "finished_at": maybe_moment(run.finished_at),
        "event_id": maybe_text(run.event_id),
        "held": run.held,
        "result": maybe_json(run.result),
    }


def definition_row(deployed: Deployed) -> Row:
    return {
        "name": text(deployed.definition.name),
        "version": deployed.definition.version,
        "number": deployed.number,
        "hash": deployed.definition.hash,
        "definition": deployed.definition.model_dump_json(exclude_defaults=True),
        "deployed_at": moment(deployed.deployed_at),
    }


def control_row(controlled: Controlled) -> Row:
    control = controlled.control
    return {
        "kind": control.kind,
        "name": text(control.name),
        "number": controlled.number,
        "paused": control.paused,
        "actor": text(control.actor),
        "reason": text(control.reason),
        "set_at": moment(control.at),
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
