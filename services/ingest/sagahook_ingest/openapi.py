"""The OpenAPI description of the webhook route, which FastAPI does not see."""

from __future__ import annotations

from typing import Any

_ANSWERS = {
    "400": "The body or a header is not as it must be, or an idempotency field is missing; `error` says which",
    "404": "No source of that name",
    "405": "Another method than POST",
    "413": "The body is over the limit",
    "422": "The Idempotency-Key was used with another body",
    "503": "Kafka is away or slow, or ingest is starting: send again after `Retry-After` seconds",
}
_TEXT = {"type": "string"}
_CORRELATION_ID = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
_CORRELATION_HEADER = {"X-Correlation-ID": {"schema": _CORRELATION_ID}}

_SCHEMAS: dict[str, Any] = {
    "WebhookAccepted": {
        "type": "object",
        "required": ["status", "source", "message", "correlation_id", "event_id"],
        "properties": {
            "status": {"type": "string", "const": "accepted"},
            "source": _TEXT,
            "message": _TEXT,
            "correlation_id": _CORRELATION_ID,
            "event_id": {"type": "string", "format": "uuid"},
        },
    },
    "Error": {
        "type": "object",
        "required": ["error", "status_code", "path", "correlation_id"],
        "properties": {
            "error": _TEXT,
            "status_code": {"type": "integer"},
            "path": _TEXT,
            "correlation_id": {"type": ["string", "null"]},
        },
    },
}


def document(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the webhook route in it."""
    schema.setdefault("paths", {})["/webhooks/{source}"] = {"post": _operation()}
    schema.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS)
    return schema


def _operation() -> dict[str, Any]:
    responses: dict[str, Any] = {
        "202": {
            "description": "Kafka holds the webhook durably",
            "headers": _CORRELATION_HEADER,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookAccepted"}}},
        }
    }
    for status, description in _ANSWERS.items():
        responses[status] = {
            "description": description,
            "headers": _CORRELATION_HEADER
            | ({"Retry-After": {"schema": {"type": "integer"}}} if status == "503" else {}),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    return {
        "tags": ["webhooks"],
        "operationId": "post_webhook",
        "summary": "Send a webhook",
        "parameters": [
            _parameter("source", "path", "A configured source, or one that a saga's trigger names"),
            _parameter("X-Correlation-ID", "header", "A tracing id; made where absent", _CORRELATION_ID),
            _parameter("Idempotency-Key", "header", "Same key and body: the first answer again"),
            _parameter("X-Event-Type", "header", "Else the body's `event_type`, `event` or `type`"),
            _parameter("X-Notify-URL", "header", "An outbound webhook endpoint for this event alone"),
            _parameter("notify_url", "query", "As X-Notify-URL"),
        ],
        "requestBody": {
            "required": True,
            "description": "Any JSON document; it is kept byte for byte",
            "content": {"application/json": {"schema": {}}},
        },
        "responses": responses,
    }


def _parameter(
    name: str, where: str, description: str, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": where == "path",
        "schema": schema or _TEXT,
    }
