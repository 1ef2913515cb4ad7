"""What the OpenAPI document shows of each answer: an example made from its schema, with values as they really are.

A value is looked up by the model and the field, then by the field alone; what has none is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SAGA_ID = "0f7e2a6d-93a5-5b0e-8d5c-5f3f2f6f1c11"
EVENT_ID = "01983b5e-6c1f-7d42-9a51-0c6c2f3b8e11"
COMMAND_ID = "7c1f3a52-4a0e-4d38-9e0c-2f6b1f0a9d27"
CORRELATION_ID = "order-4711"

_START, _END = "2026-03-01T12:00:00Z", "2026-03-01T12:00:04.2Z"
_RECORD = 68_223_090_689

VALUES: Mapping[str, Any] = {
    "saga_id": SAGA_ID,
    "task_id": SAGA_ID,
    "saga_ids": [SAGA_ID],
    "task_ids": [SAGA_ID],
    "event_id": EVENT_ID,
    "command_id": COMMAND_ID,
    "bulk_id": COMMAND_ID,
    "correlation_id": CORRELATION_ID,
    "correlation_ids": [CORRELATION_ID],
    "delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "id": _RECORD,
    "webhook_event_id": _RECORD,
    "source": "orders",
    "sources": ["orders"],
    "definitions": ["order"],
    "name": "order",
    "task_type": "order",
    "event_type": "order.created",
    "version": 3,
    "versions": [2, 3],
    "run": 1,
    "state": "COMPLETED",
    "status": "completed",
    "final": True,
    "progress": 1.0,
    "total_steps": 3,
    "completed_steps": ["reserve", "charge", "ship"],
    "attempts": 1,
    "attempt": 1,
    "step": "charge",
    "phase": "action",
    "actor": "ada",
    "reason": "the bank is back",
    "repository": "octo/api",
    "pr_number": 7,
    "attributes": {"customer": "c-17"},
    "context": {"order": {"id": "4711", "total": 19.9}},
    "input_data": {"order": {"id": "4711", "total": 19.9}},
    "output_data": {"charge": {"receipt": "r-1"}},
    "processed": True,
    "payload": {"event_type": "order.created", "order": {"id": "4711", "total": 19.9}},
    "payload_encoding": "json",
    "content_type": "application/json",
    "size": 68,
    "headers": {"content-type": "application/json", "authorization": "***"},
    "at": _START,
    "timestamp": _END,
    "since": _START,
    "checked_at": _END,
    "received_at": _START,
    "deployed_at": _START,
    "oldest_at": _START,
    "created_at": _START,
    "started_at": _START,
    "updated_at": _END,
    "finished_at": _END,
    "completed_at": _END,
    "processing_started_at": "2026-03-01T12:00:00.01Z",
    "processing_completed_at": _END,
    "duration_ms": 41,
    "waited_ms": 2,
    "seconds": 4_200.0,
    "count": 1,
    "hours": 24,
    "client": "192.0.2.7",
    "service": "tracker",
    "stream_position": "0:1042,1:977",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "topic": "sagahook.saga.events.dlq",
    "of": "sagahook.saga.events",
    "consumer": "sagahook.tracker",
    "exact": True,
    "value": {"order": {"id": "4711"}},
    "projection_lag": 0,
    "dead_letters": 1,
    "failed": 1,
    "oldest_unprocessed_seconds": 0.0,
    "execution_id": f"{SAGA_ID}/1/charge/action/1",
    "endpoint_id": "crm",
    "status_code": 200,
    # Of one model, where the same word means something else there.
    "ActBody.what": "retry",
    "AuditEntry.audit_id": EVENT_ID,
    "AuditEntry.action": "cancel_saga",
    "AuditEntry.target": SAGA_ID,
    "AuditEntry.outcome": "done",
    "AuditEntry.actor": "3f9a1c2b",
    "AuditEntry.role": "operator",
    "AuditEntry.reason": "ada: the customer called",
    "AuditEntry.until": None,
    "BulkAnswer.sample": [SAGA_ID],
    "ControlAccepted.paused": True,
    "CleanupBody.task_id": COMMAND_ID,
    "Counts.dead_letters": 1,
    "DeadLetterBody.reason": "not a CloudEvent: ce_type is missing",
    "DefinitionSummary.actor": None,
    "DefinitionSummary.reason": None,
    "DeliveryBody.event_type": "saga.completed",
    "DeliveryBody.status": "succeeded",
    "EntryBody.id": "sagahook.saga.events-1-1042",
    "EntryBody.type": "saga.completed",
    "EntryBody.step": None,
    "EntryBody.phase": None,
    "EntryBody.attempt": None,
    "EntryBody.payload": None,
    "ErrorRates.failed_webhooks_24h": 1,
    "ErrorRates.failed_tasks_24h": 2,
    "ErrorRates.webhook_error_rate": 0.002,
    "ErrorRates.task_error_rate": 0.004,
    "Metrics.webhook_events_total": 500,
    "Metrics.workflow_tasks_total": 500,
    "Metrics.task_executions_total": 1_503,
    "Metrics.tasks_by_status": {"completed": 498, "failed": 2},
    "Metrics.events_by_type": {"order.created": 500},
    "Metrics.avg_processing_time_ms": 41.5,
    "Metrics.success_rate": 0.996,
    "NextBody.what": "mend the reason, then retry",
    "NextBody.command": f"sagahook sagas retry {SAGA_ID}",
    "NextBody.call": f"POST /api/v1/sagas/{SAGA_ID}:retry",
    "RecentActivity.webhooks_24h": 500,
    "RecentActivity.tasks_24h": 500,
    "RetryBody.execution_id": f"{SAGA_ID}/2",
    "RetryBody.celery_task_id": f"{SAGA_ID}/2",
    "RunBody.parent": None,
    "SagaDetails.parent": None,
    "SagaSummary.parent": None,
    "SourceSummary.actor": None,
    "SourceSummary.reason": None,
    "StepBody.name": "charge",
    "StepDetails.name": "charge",
    "StuckSaga.kind": "suspended",
    "StuckSaga.state": "SUSPENDED",
    "StuckSaga.why": "the bank is away",
    "TimelineBody.what": "saga",
    "TimelineBody.id": SAGA_ID,
    "TimelineBody.message": "All 1 saga(s) completed successfully",
    "TimelineBody.next_cursor": "0:1042,1:977",
    "WaitingWebhook.status": "processing",
    "WebhookStatus.message": "All 1 saga(s) completed successfully",
    "WebhookStatus.saga_statuses": {SAGA_ID: "completed"},
}

ERRORS: Mapping[str, tuple[str, str]] = {
    "400": (
        "A parameter or the body is not as it must be; `errors` names each place",
        "query.limit: must be less than or equal to 1000",
    ),
    "401": (
        "No API key was sent",
        "An API key is needed: send Authorization: Bearer KEY, with a key of the role operator",
    ),
    "403": (
        "An API key that is unknown, has expired or may not do that: these look alike",
        "This API key may not do that: a key of the role operator is needed",
    ),
    "404": ("There is nothing of that id or name", f"There is no saga '{SAGA_ID}': check the id"),
    "406": (
        "It cannot be shown so",
        "Nothing here renders SVG: ask for Mermaid text, and render that where it is shown",
    ),
    "409": (
        "It is not as the call needs it",
        f"The saga '{SAGA_ID}' is COMPLETED: there is nothing to cancel",
    ),
    "413": ("It is too large", "body.payload: too_large: 300000 bytes; 262144 are allowed"),
    "414": ("The path and query are too long", "The request's target is longer than 8192 bytes"),
    "429": (
        "More calls than the key, or without one the client, may make",
        "More than 100 requests a minute (and 50 at once) came with this API key: wait 1 s, then send more slowly",
    ),
    "500": ("It failed", "The server failed; its log says why, under this correlation id"),
    "503": (
        "Kafka or PostgreSQL is away, or the views are behind the log (`reason`: `behind`): ask again after "
        "`Retry-After` seconds",
        "It is not known yet, but may be soon: the views are 12 records behind the log",
    ),
}
"""By status: when it is given, and an example of its text."""


_DIAGRAM = "flowchart TD\n  s0[reserve] --> s1[charge] --> s2[ship]\n"
TEXTS: Mapping[tuple[str, str], str] = {
    ("saga_diagram", "text/plain"): _DIAGRAM,
    ("saga_diagram", "image/svg+xml"): '<svg xmlns="http://www.w3.org/2000/svg"/>',
    ("definition_diagram", "text/plain"): _DIAGRAM,
    ("definition_diagram", "image/svg+xml"): '<svg xmlns="http://www.w3.org/2000/svg"/>',
    ("metrics", "text/plain"): 'workflow_tasks_total{task_type="order",state="COMPLETED"} 498.0\n',
}
"""By operation and media type: what is no JSON."""


def example(schema: Mapping[str, Any], models: Mapping[str, Any], name: str = "") -> Any:
    """One value that the schema allows. name: of the model that it is of."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example(models[name], models, name)
    if "anyOf" in schema:
        return None if {"type": "null"} in schema["anyOf"] else example(schema["anyOf"][0], models)
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {
                field: _value(name, field, inner, models) for field, inner in schema["properties"].items()
            }
        case "array":
            return [example(schema["items"], models)] if "$ref" in schema.get("items", {}) else []
        case kind:
            return _plain(schema, kind)


def _value(model: str, field: str, schema: Mapping[str, Any], models: Mapping[str, Any]) -> Any:
    for known in (f"{model}.{field}", field):
        if known in VALUES and (known != field or _fits(VALUES[known], schema)):
            return VALUES[known]
    return example(schema, models)


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a field of that name elsewhere is one like it."""
    if "anyOf" in schema:
        return any(_fits(value, each) for each in schema["anyOf"])
    if "$ref" in schema:
        return bool(schema["$ref"].endswith("/JsonValue"))
    if "enum" in schema:
        return bool(value in schema["enum"])
    if "const" in schema:
        return bool(value == schema["const"])
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        return False
    kind: str | None = schema.get("type")
    return kind is None or (
        isinstance(value, _KINDS[kind]) and (kind == "boolean") is isinstance(value, bool)
    )


def _plain(schema: Mapping[str, Any], kind: str | None) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "", "integer": 0, "number": 0.0, "boolean": False, "object": {}}.get(kind or "")
