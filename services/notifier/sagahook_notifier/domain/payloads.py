"""What an outbound webhook says (api.md §6). The body is made once, so that every attempt sends the same bytes."""

from __future__ import annotations

from typing import Any

from orjson import dumps

from sagahook_notifier.domain.endpoints import TASK_TYPES, PayloadFormat
from sagahook_notifier.domain.sagas import SagaView
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, rfc3339

_STATUS = {"COMPLETED": "completed", "ROLLED_BACK": "failed", "FAILED": "failed"}


def render(
    payload_format: PayloadFormat,
    event_type: str,
    *,
    envelope: Envelope,
    event: Contract,
    view: SagaView,
    correlation_id: str,
) -> bytes:
    """The body for one event. `view` is the saga as of that event."""
    status = "started" if event_type == "task_started" else _STATUS.get(view.state, "progress")
    about: dict[str, Any] = {
        "task_id": view.saga_id,
        "status": status,
        "message": _message(view, status),
        "progress": round(view.progress, 4),
    }
    if status == "completed" and view.results is not None:
        about["result"] = view.results
    if view.error is not None:
        about["error"] = view.error
    further: dict[str, Any] = {
        "correlation_id": correlation_id,
        "correlation_ids": view.correlation_ids,
        "name": view.name,
        "source": view.source,
        "run": view.run,
        "event_id": envelope.id,
    }
    if event_type not in TASK_TYPES:
        # Where the saga's caller wants to be told is no one else's business.
        further["event"] = event.model_dump(mode="json", exclude={"notify_url"}, exclude_none=True)
    timestamp = rfc3339(envelope.time)
    if payload_format == "task":
        return dumps(
            {"event_type": event_type, "timestamp": timestamp, "data": about | {"metadata": further}}
        )
    return dumps({"type": event_type, "timestamp": timestamp, "data": about | further})


def _message(view: SagaView, status: str) -> str:
    if status == "started":
        return f"{view.name} started"
    happened = {
        "COMPLETED": "completed",
        "ROLLED_BACK": "failed and was rolled back",
        "FAILED": "failed, and undoing it did too",
        "COMPENSATING": "failed and is being rolled back",
        "SUSPENDED": "is suspended",
    }.get(view.state, f"is running: {view.completed_steps} of {view.total_steps} steps done")
    return f"{view.name} {happened}" + (f": {view.error}" if view.error else "")
