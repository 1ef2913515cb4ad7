"""The shapes that the OpenAPI document names."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
UUID = {"type": "string", "format": "uuid"}
CORRELATION_ID = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
SHORT_TEXT = {"type": "string", "pattern": "^[ -~]{1,255}$"}
URL = {
    "type": "string",
    "examples": ["https://shop.example/hooks/7"],
    "pattern": "^https?://[a-z0-9.-]{0,200}[a-z0-9](/[!-~]{0,500})?$",
}
EVENT_TYPE = {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"}


def _object(
    required: dict[str, Any],
    optional: dict[str, Any] | None = None,
    further: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """further: of whatever name; None for anything."""
    described = {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
    }
    return described if further is None else described | {"additionalProperties": further}


SCHEMAS: dict[str, Any] = {
    "WebhookAccepted": _object(
        {
            "status": {"type": "string", "const": "accepted"},
            "source": TEXT,
            "message": TEXT,
            "correlation_id": CORRELATION_ID,
            "event_id": UUID,
        }
    ),
    "GitHubAccepted": _object(
        {
            "status": {"type": "string", "const": "accepted"},
            "delivery_id": TEXT,
            "event_type": TEXT,
            "correlation_id": CORRELATION_ID,
            "event_id": UUID,
            "result": _object(
                {"status": {"type": "string", "enum": ["queued", "ignored"]}, "task_id": UUID, "action": {}}
            ),
        }
    ),
    "BatchOutcome": _object(
        {
            "status": {"type": "string", "enum": ["accepted", "partly_accepted", "refused"]},
            "source": TEXT,
            "accepted": NUMBER,
            "refused": NUMBER,
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/ItemOutcome"}},
        }
    ),
    "ItemOutcome": _object(
        {
            "index": NUMBER,
            "status": {"type": "string", "enum": ["accepted", "refused", "unavailable"]},
            "status_code": NUMBER,
            "correlation_id": CORRELATION_ID,
        },
        {"event_id": UUID, "error": TEXT, "retry_after": NUMBER},
    ),
    "SlackChallenge": _object({"challenge": TEXT}),
    "CloudEvent": _object(
        {
            "specversion": {"type": "string", "const": "1.0"},
            "id": EVENT_TYPE,
            "source": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            "type": EVENT_TYPE,
        },
        {
            "data": {},
            "time": {"type": ["string", "null"], "format": "date-time"},
            "subject": _TEXT_OR_NULL,
            "dataschema": _TEXT_OR_NULL,
            "datacontenttype": _TEXT_OR_NULL,
        },
        {"type": ["string", "number", "boolean", "null"]},
    ),
    "Error": _object({"error": TEXT, "status_code": NUMBER, "path": TEXT, "correlation_id": TEXT}),
    "Problem": _object(
        {
            "type": TEXT,
            "title": TEXT,
            "status": NUMBER,
            "detail": TEXT,
            "instance": TEXT,
            "correlation_id": TEXT,
        }
    ),
}
