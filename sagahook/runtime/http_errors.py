"""The one shape of every HTTP error (api.md §8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orjson import dumps
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from sagahook.runtime.http_validation import Wrong, wrongs
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger

if TYPE_CHECKING:
    from fastapi import FastAPI

log = get_logger(__name__)

CORRELATION_HEADER = "X-Correlation-ID"
CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
JSON = "application/json"
PROBLEM = "application/problem+json"

_QUALITY = re.compile(r"q=([01](?:\.[0-9]{0,3})?)\Z")


class ErrorBody(BaseModel):
    """The body of every refusal, for the documentation of the routes."""

    error: str = Field(description="what happened, to what, and what to do next")
    status_code: int
    path: str
    correlation_id: str | None


class ApiError(HTTPException):
    """An answer that says what happened, to what, and what to do next.

    retry_after: seconds after which the same request may succeed. reason: a word for programs, where the status alone
    does not tell them what to do.
    """

    def __init__(
        self,
        status_code: int,
        error: str,
        *,
        retry_after: int | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        told = dict(headers or {})
        if retry_after is not None:
            told["Retry-After"] = str(retry_after)
        super().__init__(status_code, error, told)
        self.correlation_id = correlation_id
        self.reason = reason


def error_response(
    *,
    status_code: int,
    error: str,
    path: str,
    correlation_id: str | None,
    accept: str = "",
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """`{error, status_code, path, correlation_id}`, or RFC 9457 where the caller accepts that. more: further members
    of either."""
    answer = dict(headers or {})
    if correlation_id is not None:
        answer[CORRELATION_HEADER] = correlation_id
    if _prefers_problem(accept):
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(status_code).phrase,
            "status": status_code,
            "detail": error,
            "instance": path,
            "correlation_id": correlation_id,
        }
        return Response(dumps(problem | dict(more or {})), status_code, answer, PROBLEM)
    body = {"error": error, "status_code": status_code, "path": path, "correlation_id": correlation_id}
    return Response(dumps(body | dict(more or {})), status_code, answer, JSON)


def requested_correlation_id(request: Request) -> str | None:
    """The caller's correlation id, or None where there is none that may be echoed."""
    given = request.headers.get(CORRELATION_HEADER, "")
    return given if CORRELATION_ID.match(given) else None


def install_error_handlers(app: FastAPI) -> None:
    """Every refusal of `app` takes the documented shape, also the framework's own."""
    # It takes half a second to load, and who serves probes alone does without.
    from fastapi.exceptions import RequestValidationError

    async def refused(request: Request, raised: Exception) -> Response:
        correlation_id = requested_correlation_id(request)
        headers: Mapping[str, str] | None = None
        more: dict[str, Any] = {}
        match raised:
            case RequestValidationError():
                found = wrongs(raised.errors())
                status, error, more = 400, _said(found), {"errors": [each._asdict() for each in found]}
            case ApiError():
                status, error, headers = raised.status_code, str(raised.detail), raised.headers
                correlation_id = raised.correlation_id or correlation_id
                more = {} if raised.reason is None else {"reason": raised.reason}
            case HTTPException():
                status, error, headers = _of_framework(app, request, raised)
            case _:
                status, error = 500, "The server failed; its log says why, under this correlation id"
                correlation_id = correlation_id or new_event_id()
                log.error(
                    "http.failed", path=request.url.path, correlation_id=correlation_id, exc_info=raised
                )
        return error_response(
            status_code=status,
            error=error,
            path=request.url.path,
            correlation_id=correlation_id,
            accept=request.headers.get("accept", ""),
            headers=headers,
            more=more,
        )

    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)


def _said(found: Sequence[Wrong]) -> str:
    return "; ".join(f"{each.where}: {each.problem}" for each in found)


def _of_framework(
    app: FastAPI, request: Request, raised: HTTPException
) -> tuple[int, str, Mapping[str, str] | None]:
    """status, text and headers of what no route of ours said"""
    match raised.status_code:
        case 404:
            return 404, f"There is nothing at {request.url.path}: /openapi.json says what there is", None
        case 405:
            allowed = ", ".join(_methods(app, request))
            return 405, f"{request.method} is not for this path; there is {allowed}", {"Allow": allowed}
        case status:
            return status, str(raised.detail), raised.headers


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Those that any route of the path takes, not only the first."""
    scope = dict(request.scope)
    return sorted(
        {
            method
            for route in app.routes
            if route.matches(scope)[0] is not Match.NONE
            for method in getattr(route, "methods", None) or ()
        }
    )


def _prefers_problem(accept: str) -> bool:
    """Asked for by name, and not less than plain JSON is."""
    if PROBLEM not in accept:
        return False
    asked: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        weights = [float(found[1]) for each in parameters if (found := _QUALITY.match(each))]
        asked[name] = weights[0] if weights else 1.0
    return asked.get(PROBLEM, 0.0) > 0 and asked[PROBLEM] >= asked.get(JSON, 0.0)
