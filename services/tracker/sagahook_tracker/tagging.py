"""Answers that a caller has already are not sent again: `ETag` and `If-None-Match` (RFC 9110 §8.8.3, §13.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

_KEPT = ("cache-control", "vary", "link", "x-next-cursor")
"""What a 304 says besides the tag: it would have stood in the 200 too, and a cache takes it over."""


class Tagged(APIRoute):
    """Its good answers to GET carry a tag made from their bodies. A caller that shows the newest one gets 304."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def tagged(request: Request) -> Response:
            response = await handle(request)
            if (
                request.method != "GET"
                or response.status_code != 200
                or isinstance(response, StreamingResponse)
            ):
                return response
            return _tag(response, request.headers.get("if-none-match", ""))

        return tagged


def _tag(response: Response, known: str) -> Response:
    tag = f'"{blake2b(response.body, digest_size=12).hexdigest()}"'
    response.headers["ETag"] = tag
    # Whoever keeps it asks each time whether it is still so, and keeps it for nobody else.
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if not _is_among(tag, known):
        return response
    kept = {name: value for name, value in response.headers.items() if name in _KEPT}
    return Response(status_code=304, headers=kept | {"ETag": tag}, background=response.background)


def _is_among(tag: str, known: str) -> bool:
    """known: the header's value. It is compared weakly, as the header is to be: a proxy that compressed the answer
    made its tag a weak one."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in known.split(","))
