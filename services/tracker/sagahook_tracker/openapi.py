"""The OpenAPI document of the status API: what FastAPI knows of the routes, and what it does not.

Every route answers some errors in one way, whatever it does: those stand here and not at each route.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from sagahook.runtime.http_errors import CORRELATION_HEADER, JSON, PROBLEM
from sagahook.runtime.telemetry_http import HTTP_SPANS
from sagahook_tracker.openapi_examples import CORRELATION_ID, ERRORS, EVENT_ID, SAGA_ID, TEXTS, example

OPEN = frozenset({"webhook_status", "saga_status", "saga_diagram", "definition_diagram"})
"""Routes that need no key, unless SAGAHOOK_STATUS_AUTH is on (api.md §8)."""

EVERYWHERE = ("400", "401", "403", "414", "429", "503")
"""Errors that every route answers in the same way."""
_OF_THE_ASKED = ("400", "414")
"""Of those, where there is something to get wrong."""

_DESCRIPTION = """\
What became of a webhook, of the sagas that it started and of the webhooks that told others; and what operators do.

Errors are `{error, status_code, path, correlation_id}`, or with `Accept: application/problem+json` as in RFC 9457. Keys
have a role: a `reader` asks, an `operator` acts on sagas too, an `admin` does everything. Each may make 100 calls a
minute, and 50 at once, unless the deployment says otherwise. Fields may be added to answers, never renamed or dropped.
"""

_TAGS = {
    "status": "What became of a webhook or of a saga, now and over time.",
    "events": "The webhooks that were received.",
    "tasks": "Sagas, as tasks.",
    "timeline": "All that happened, in order: received, routed, steps, notifications.",
    "figures": "Counts and rates.",
    "operating": "What operators see and do. Each act is a command onto the log.",
    "administration": "For admins.",
    "health": "For probes and Prometheus; never limited.",
}

_TEXT = {"type": "string"}
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"schema": _TEXT}},
    "429": {name: {"schema": _TEXT} for name in ("Retry-After", "RateLimit", "RateLimit-Policy")},
    "503": {"Retry-After": {"schema": {"type": "integer"}}},
}
_PLACES = {
    "{saga_id}": SAGA_ID,
    "{task_id}": SAGA_ID,
    "{event_id}": EVENT_ID,
    "{correlation_id}": CORRELATION_ID,
}

_WRONG = {
    "type": "object",
    "required": ["where", "problem"],
    "properties": {"where": _TEXT, "problem": _TEXT},
}
_MORE = {
    "errors": {
        "type": "array",
        "items": _WRONG,
        "description": "of a 400: each place that is wrong, and why",
    },
    "reason": {
        "type": "string",
        "description": "a word for programs: `behind`, the views lag behind the log",
    },
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "correlation_id": {"anyOf": [_TEXT, {"type": "null"}]},
        **_MORE,
    },
}


class StatusApi(FastAPI):
    """Its document is complete, and its operations are called as their functions are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            title="sagahook status",
            version="1",
            description=_DESCRIPTION,
            generate_unique_id_function=_name_of,
            openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
            telemetry=HTTP_SPANS,
            **options,
        )

    def openapi(self) -> dict[str, Any]:
        known = self.openapi_schema is not None
        schema = super().openapi()
        return schema if known else completed(schema)


def _name_of(route: APIRoute) -> str:
    return route.name


def completed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, with examples, and with the errors that every route may answer."""
    models = schema["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)
    models["ErrorBody"]["properties"].update(_MORE)
    models["Problem"] = _PROBLEM_SCHEMA
    schema["components"]["responses"] = {status: _error(status, "/api/v1/tasks") for status in EVERYWHERE}
    for path, _, operation in operations(schema):
        if operation["operationId"] in OPEN:
            operation["security"] = [{}, *operation["security"]]
        _complete(path, operation, models)
    return schema


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """path, method and operation of each"""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _complete(path: str, operation: dict[str, Any], models: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    guarded = "security" in operation
    for status in [status for status in answers if status >= "400" and guarded]:
        answers[status] = _error(status, path, answers[status]["description"])
    if guarded:
        asks = operation.get("parameters") or "requestBody" in operation
        common = [status for status in EVERYWHERE if asks or status not in _OF_THE_ASKED]
        answers |= {status: {"$ref": f"#/components/responses/{status}"} for status in common}
    for answer in answers.values():
        for media, content in answer.get("content", {}).items():
            text = TEXTS.get((operation["operationId"], media.partition(";")[0]))
            if text is not None:
                content["example"] = text
            elif "example" not in content and media != PROBLEM:
                content["example"] = example(content.get("schema", {}), models)
    operation["responses"] = dict(sorted(answers.items()))


def _error(status: str, path: str, description: str | None = None) -> dict[str, Any]:
    usual, said = ERRORS[status]
    for place, value in _PLACES.items():
        path = path.replace(place, value)
    told: dict[str, Any] = {
        "error": said,
        "status_code": int(status),
        "path": path,
        "correlation_id": CORRELATION_ID,
    }
    if status == "400":
        where, _, problem = said.partition(": ")
        told["errors"] = [{"where": where, "problem": problem}]
    if status == "503":
        told["reason"] = "behind"
    return {
        "description": description or usual,
        "headers": {CORRELATION_HEADER: {"schema": _TEXT}} | _HEADERS.get(status, {}),
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/ErrorBody"}, "example": told},
            PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }
