"""The one shape of every HTTP error (api.md §8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from orjson import dumps
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

CORRELATION_HEADER = "X-Correlation-ID"
CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
PROBLEM = "application/problem+json"


class ErrorBody(BaseModel):
    """The body of every refusal, for the documentation of the routes."""

    error: str
    status_code: int
    path: str
    correlation_id: str | None


class ApiError(HTTPException):
    """An answer that says what happened, to what, and what to do next.

    retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self,
        status_code: int,
        error: str,
        *,
        retry_after: int | None = None,
        correlation_id: str | None = None,
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status_code, error, headers)
        self.correlation_id = correlation_id


def error_response(
    *,
    status_code: int,
    error: str,
    path: str,
    correlation_id: str | None,
    accept: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`{error, status_code, path, correlation_id}`, or RFC 9457 where the caller accepts that."""
    answer = dict(headers or {})
    if correlation_id is not None:
        answer[CORRELATION_HEADER] = correlation_id
    if PROBLEM in accept:
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(status_code).phrase,
            "status": status_code,
            "detail": error,
            "instance": path,
            "correlation_id": correlation_id,
        }
        return Response(dumps(problem), status_code, answer, PROBLEM)
    body = {"error": error, "status_code": status_code, "path": path, "correlation_id": correlation_id}
    return Response(dumps(body), status_code, answer, "application/json")


def requested_correlation_id(request: Request) -> str | None:
    """The caller's correlation id, or None where there is none that may be echoed."""
    given = request.headers.get(CORRELATION_HEADER, "")
    return given if CORRELATION_ID.match(given) else None


def _methods(request: Request) -> set[str]:
    """What the path may be asked by: Starlette names the methods of the first route that has it alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return {
        method
        for route in routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def install_error_handlers(app: FastAPI) -> None:
    """Every refusal of `app` takes the documented shape, also the framework's own."""

    async def refused(request: Request, raised: Exception) -> Response:
        if isinstance(raised, RequestValidationError):
            first = raised.errors()[0]
            status, error = 400, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
            headers: Mapping[str, str] | None = None
        elif isinstance(raised, HTTPException):
            status, error, headers = raised.status_code, str(raised.detail), raised.headers
            if status == HTTPStatus.METHOD_NOT_ALLOWED:
                headers = {"Allow": ", ".join(sorted(_methods(request)))}
        else:
            status, error, headers = (
                500,
                "The server failed; its log says why, under this correlation id",
                None,
            )
        given = raised.correlation_id if isinstance(raised, ApiError) else None
        return error_response(
            status_code=status,
            error=error,
            path=request.url.path,
            correlation_id=given or requested_correlation_id(request),
            accept=request.headers.get("accept", ""),
            headers=headers,
        )

    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)
