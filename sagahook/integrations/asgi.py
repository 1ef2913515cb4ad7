"""Small parts of ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from sagahook.integrations.correlation import current_correlation_id
from sagahook.runtime.http_errors import CORRELATION_HEADER, error_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_CORRELATION = CORRELATION_HEADER.lower().encode()


def header(scope: Scope, name: str) -> str:
    """ "" where it was not sent."""
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")


def content_length(scope: Scope) -> int | None:
    """As declared, which may be a lie; None for a chunked body."""
    given = header(scope, "Content-Length")
    return int(given) if given.isascii() and given.isdigit() else None


def correlated(scope: Scope) -> Scope:
    """With the correlation id of the request that is served, where the sender gave none: the record has the id that
    the application's own log has."""
    current = current_correlation_id()
    if not current or any(name == _CORRELATION for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [*scope["headers"], (_CORRELATION, current.encode())]}


async def reply(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    told = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    told.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})


def error(scope: Scope, status: int, text: str, *, retry_after: int | None = None) -> Response:
    """In the one documented shape (api.md §8)."""
    return error_response(
        status_code=status,
        error=text,
        path=scope["path"],
        correlation_id=current_correlation_id() or None,
        accept=header(scope, "Accept"),
        headers={} if retry_after is None else {"Retry-After": str(retry_after)},
    )
