"""What an outbound webhook says (api.md §6). The body is made once, so that every attempt sends the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orjson import dumps

from sagahook_notifier.domain.deliveries import SOURCE
from sagahook_notifier.domain.endpoints import TASK_TYPES, PayloadFormat
from sagahook_notifier.domain.sagas import SagaView
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, rfc3339

JSON, CLOUD_EVENT = "application/json", "application/cloudevents+json"

_STATUS = {"COMPLETED": "completed", "ROLLED_BACK": "failed", "FAILED": "failed"}

_TASK_FIELDS = ("task_id", "status", "message", "progress", "result", "error")
"""What the format `task` has beside its metadata."""
_LEFT_OUT = ("result", "event", "attributes", "correlation_ids")
"""What a body that is too large does without, one after the other until it fits."""
_TEXT_CHARACTERS = 1_000
"""Of error and message, where even that does not help."""


@dataclass(frozen=True, slots=True)
class Limits:
    """body: bytes of a body, at least 16 KiB. public_url: where the API is reached, or "": what is left out is then
    not linked to."""

    body: int
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """What there is to say of one event. view: the saga as of that event. marks: those that its progress passed."""

    envelope: Envelope
    event: Contract
    view: SagaView
    marks: tuple[float, ...] = ()


def render(
    payload_format: PayloadFormat, event_type: str, payload: Payload, correlation_id: str, limits: Limits
) -> tuple[bytes, str]:
    """The body for one event, and its content type. What is too large is marked `truncated`, and linked to."""
    envelope, view = payload.envelope, payload.view
    data = _data(event_type, payload, correlation_id)
    extensions = {"sagaid": view.saga_id, "sagarun": view.run, "sequence": envelope.sequence}
    if correlation_id:
        extensions["correlationid"] = correlation_id

    def shaped() -> bytes:
        return _shaped(payload_format, event_type, envelope.time, envelope.id, data, extensions)

    body = shaped()
    if len(body) <= limits.body and view.results is not None:
        return body, content_type(payload_format)
    data["truncated"] = True
    if limits.public_url:
        data["result_url"] = f"{limits.public_url.rstrip('/')}/api/v1/tasks/{view.saga_id}"
    for name in _LEFT_OUT:
        body = shaped()
        if len(body) <= limits.body:
            return body, content_type(payload_format)
        data.pop(name, None)
    for name in {"error", "message"} & data.keys():
        data[name] = data[name][:_TEXT_CHARACTERS]
    return shaped(), content_type(payload_format)


def render_plain(
    payload_format: PayloadFormat, event_type: str, at: datetime, event_id: str, data: Mapping[str, Any]
) -> tuple[bytes, str]:
    """The body for what happened to no saga: a test, an endpoint that was switched off; and its content type."""
    body = _shaped(payload_format, event_type, at, event_id, data, {})
    return body, content_type(payload_format)


def content_type(payload_format: PayloadFormat) -> str:
    return CLOUD_EVENT if payload_format == "cloudevents" else JSON


def fields_of(event_type: str, correlation_id: str, view: SagaView) -> dict[str, Any]:
    """What a filter is given: filters.FIELDS."""
    return {
        "type": event_type,
        "source": view.source,
        "saga": view.name,
        "version": view.version,
        "run": view.run,
        "state": view.state,
        "status": _status(event_type, view),
        "progress": view.progress,
        "error": view.error,
        "user_id": view.user_id,
        "correlation_id": correlation_id,
        "attributes": view.attributes,
    }


def _data(event_type: str, payload: Payload, correlation_id: str) -> dict[str, Any]:
    view, status = payload.view, _status(event_type, payload.view)
    data: dict[str, Any] = {
        "task_id": view.saga_id,
        "status": status,
        "message": _message(view, status),
        "progress": round(view.progress, 4),
    }
    if status == "completed" and view.results is not None:
        data["result"] = view.results
    if view.error is not None:
        data["error"] = view.error
    data |= {
        "correlation_id": correlation_id,
        "correlation_ids": view.correlation_ids,
        "name": view.name,
        "version": view.version,
        "source": view.source,
        "run": view.run,
        "event_id": payload.envelope.id,
    }
    if view.user_id is not None:
        data["user_id"] = view.user_id
    if view.attributes:
        data["attributes"] = view.attributes
    if event_type == "task_progress":
        data["crossed"] = payload.marks
    if event_type not in TASK_TYPES:
        # Where the saga's caller wants to be told is no one else's business.
        data["event"] = payload.event.model_dump(mode="json", exclude={"notify_url"}, exclude_none=True)
    return data


def _shaped(
    payload_format: PayloadFormat,
    event_type: str,
    at: datetime,
    event_id: str,
    data: Mapping[str, Any],
    extensions: Mapping[str, Any],
) -> bytes:
    timestamp = rfc3339(at)
    match payload_format:
        case "standard":
            return dumps({"type": event_type, "timestamp": timestamp, "data": data})
        case "task":
            about = {name: data[name] for name in _TASK_FIELDS if name in data}
            metadata = {name: value for name, value in data.items() if name not in about}
            return dumps(
                {"event_type": event_type, "timestamp": timestamp, "data": about | {"metadata": metadata}}
            )
        case "cloudevents":
            attributes = {
                "specversion": "1.0",
                "id": event_id,
                "source": SOURCE,
                "type": f"sagahook.{event_type}.v1",
                "time": timestamp,
                "datacontenttype": JSON,
            }
            if "task_id" in data:
                attributes["subject"] = data["task_id"]
            return dumps({**attributes, **extensions, "data": data})


def _status(event_type: str, view: SagaView) -> str:
    return "started" if event_type == "task_started" else _STATUS.get(view.state, "progress")


def _message(view: SagaView, status: str) -> str:
    if status == "started":
        return f"{view.name} started"
    happened = {
        "COMPLETED": "completed",
        "ROLLED_BACK": "failed and was rolled back",
        "FAILED": "failed, and undoing it did too",
        "COMPENSATING": "failed and is being rolled back",
        "SUSPENDED": "is suspended",
    }.get(view.state) or f"is running: {view.message or _steps_done(view)}"
    return f"{view.name} {happened}" + (f": {view.error}" if view.error else "")


def _steps_done(view: SagaView) -> str:
    return f"{view.completed_steps} of {view.total_steps} steps done"
