"""The OpenAPI description of the routes that FastAPI does not see: all that take webhooks."""

from __future__ import annotations

from typing import Any

from sagahook_ingest.openapi_examples import (
    ACCEPTED,
    BATCH,
    BATCH_OUTCOME,
    CHALLENGE,
    CLOUD_EVENT,
    ERRORS,
    EVENT,
    GITHUB,
    GITHUB_EVENT,
)
from sagahook_ingest.openapi_schemas import CORRELATION_ID, EVENT_TYPE, NUMBER, SCHEMAS, SHORT_TEXT, TEXT, URL
from sagahook_schemas.bodies import CLOUD_EVENT as ONE_EVENT
from sagahook_schemas.bodies import CLOUD_EVENTS as EVENTS

JSON = "application/json"
PROBLEM = "application/problem+json"
_CORRELATION_HEADER = {"X-Correlation-ID": {"schema": CORRELATION_ID}}
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"schema": TEXT}},
    "405": {"Allow": {"schema": TEXT}},
    "429": {name: {"schema": TEXT} for name in ("Retry-After", "RateLimit", "RateLimit-Policy")},
    "503": {"Retry-After": {"schema": NUMBER}},
}


def document(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the webhook routes in it."""
    schema.setdefault("paths", {}).update(
        {
            "/webhooks/{source}": {"post": _one(), "options": _validation()},
            "/webhooks/{source}/batch": {"post": _batch()},
            "/api/v1/webhooks/github": {"post": _github()},
        }
    )
    schema.setdefault("components", {}).setdefault("schemas", {}).update(SCHEMAS)
    return schema


def _one() -> dict[str, Any]:
    return _operation(
        "post_webhook",
        "Send a webhook",
        [
            _SOURCE,
            *_COMMON,
            _parameter(
                "X-Event-Type", "header", "Else the body's `event_type`, `event` or `type`", EVENT_TYPE
            ),
        ],
        {
            JSON: {"schema": {}, "examples": {"event": {"value": EVENT}}},
            ONE_EVENT: {
                "schema": {"$ref": "#/components/schemas/CloudEvent"},
                "examples": {"event": {"value": CLOUD_EVENT}},
            },
            EVENTS: {
                "schema": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/CloudEvent"},
                    "maxItems": 100,
                },
                "examples": {"events": {"value": [CLOUD_EVENT]}},
            },
        },
        {
            "200": _answer(
                "The challenge of Slack's `url_verification`, which is not recorded",
                "SlackChallenge",
                CHALLENGE,
            ),
            "202": _answer("Kafka holds the webhook durably", ("WebhookAccepted", "BatchOutcome"), ACCEPTED),
            "207": _answer("Not every event of a batch was accepted", "BatchOutcome", BATCH_OUTCOME),
            **_errors("400", "401", "403", "404", "405", "413", "415", "422", "429", "503"),
        },
        "Any JSON document, or a CloudEvent (binary, structured or batched); of sources with the scheme `slack` or "
        "`github` also a form (`application/x-www-form-urlencoded`). It is kept byte for byte.",
    )


def _batch() -> dict[str, Any]:
    return _operation(
        "post_webhooks",
        "Send several webhooks, each with an outcome of its own",
        [_SOURCE, *_COMMON],
        {
            JSON: {
                "schema": {"type": "array", "items": {}, "maxItems": 100},
                "examples": {"events": {"value": BATCH}},
            },
            EVENTS: {
                "schema": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/CloudEvent"},
                    "maxItems": 100,
                },
                "examples": {"events": {"value": [CLOUD_EVENT]}},
            },
        },
        {
            "202": _answer(
                "All are accepted", "BatchOutcome", BATCH_OUTCOME | {"status": "accepted", "refused": 0}
            ),
            "207": _answer(
                "Some are not accepted; `results` says which and why", "BatchOutcome", BATCH_OUTCOME
            ),
            **_errors("400", "401", "403", "404", "405", "413", "415", "429", "503"),
        },
        "A JSON array, whose elements are kept byte for byte, each as an event of its own.",
    )


def _github() -> dict[str, Any]:
    return _operation(
        "post_github_webhook",
        "What GitHub sends",
        [
            _parameter("X-GitHub-Event", "header", "The event's type", EVENT_TYPE, required=True),
            _parameter(
                "X-GitHub-Delivery",
                "header",
                "The delivery's id",
                {"type": "string", "pattern": "^[!-~]{1,255}$"},
                required=True,
            ),
            _parameter(
                "X-Hub-Signature-256",
                "header",
                "`sha256=` and the HMAC-SHA256 of the raw body in hex",
                {"type": "string", "pattern": "^sha256=[0-9a-f]{64}$"},
                required=True,
            ),
            *_COMMON,
        ],
        {JSON: {"schema": {"type": "object"}, "examples": {"push": {"value": GITHUB_EVENT}}}},
        {
            "200": _answer("Kafka holds the delivery durably", "GitHubAccepted", GITHUB),
            **_errors("400", "401", "403", "404", "405", "409", "413", "415", "422", "429", "503"),
        },
        "A payload as GitHub sends it; it is kept byte for byte.",
    )


def _validation() -> dict[str, Any]:
    return {
        "tags": ["webhooks"],
        "operationId": "validate_webhook_target",
        "summary": "May a CloudEvents sender send here? (HTTP 1.1 Web Hooks for Event Delivery, §4)",
        "parameters": [
            _SOURCE,
            _parameter(
                "WebHook-Request-Origin",
                "header",
                "The sender's DNS name",
                {"type": "string", "pattern": "^[a-z0-9]{1,20}([.][a-z0-9]{1,20}){0,5}$"},
            ),
            _parameter(
                "WebHook-Request-Rate",
                "header",
                "Requests a minute",
                {"type": "integer", "minimum": 1, "maximum": 9_999_999_999},
            ),
            _parameter("WebHook-Request-Callback", "header", "It is not called: the answer is given at once"),
        ],
        "responses": {
            "200": {
                "description": "Permitted where WebHook-Allowed-Origin is there",
                "headers": {
                    name: {"schema": TEXT}
                    for name in ("Allow", "WebHook-Allowed-Origin", "WebHook-Allowed-Rate")
                },
            },
            **_errors("400", "403", "404", "429", "503"),
        },
    }


def _operation(
    name: str,
    summary: str,
    parameters: list[dict[str, Any]],
    content: dict[str, Any],
    responses: dict[str, Any],
    body: str,
) -> dict[str, Any]:
    return {
        "tags": ["webhooks"],
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "description": body, "content": content},
        "responses": responses,
    }


def _answer(description: str, schemas: str | tuple[str, ...], example: dict[str, Any]) -> dict[str, Any]:
    references = [
        {"$ref": f"#/components/schemas/{name}"}
        for name in ((schemas,) if isinstance(schemas, str) else schemas)
    ]
    return {
        "description": description,
        "headers": _CORRELATION_HEADER,
        "content": {
            JSON: {
                "schema": references[0] if len(references) == 1 else {"oneOf": references},
                "example": example,
            }
        },
    }


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _error(status) for status in statuses}


def _error(status: str) -> dict[str, Any]:
    description, said = ERRORS[status]
    return {
        "description": description,
        "headers": _CORRELATION_HEADER | _HEADERS.get(status, {}),
        "content": {
            JSON: {
                "schema": {"$ref": "#/components/schemas/Error"},
                "example": {
                    "error": said,
                    "status_code": int(status),
                    "path": "/webhooks/orders",
                    "correlation_id": "order-4711",
                },
            },
            PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }


def _parameter(
    name: str, where: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": required or where == "path",
        "schema": schema or TEXT,
    }


_SOURCE = _parameter("source", "path", "A configured source, or one that a saga's trigger names")
_COMMON = (
    _parameter("X-Correlation-ID", "header", "A tracing id; made where absent", CORRELATION_ID),
    _parameter("Idempotency-Key", "header", "Same key and body: the first answer again", SHORT_TEXT),
    _parameter(
        "X-Notify-URL",
        "header",
        "An outbound webhook endpoint for this event alone, where the source allows it",
        URL,
    ),
    _parameter("notify_url", "query", "As X-Notify-URL", URL),
)
