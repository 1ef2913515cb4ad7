"""Opens what is sealed in the answers of an API, so that its views hold it only sealed.

One place for all routes: whatever they read from the views or the log, they pass on as it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from orjson import dumps

from sagahook_schemas.erasable import ERASED, ERASED_TEXT, GONE, TOKEN, is_sealed

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]

_SEALED = re.compile(rf'\{{\s*"\$sealed"\s*:\s*"(?P<value>{TOKEN.pattern})"\s*\}}|(?P<text>{TOKEN.pattern})')
_SETTLING_SECONDS = 3.0
_STREAM = b"text/event-stream"


class OpenAnswers:
    """An ASGI middleware. keys: asked for at each request; None: nothing is sealed."""

    def __init__(self, app: _App, keys: Callable[[], DataKeys | None]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[_Message]], send: _Send
    ) -> None:
        keys = self._keys() if scope["type"] == "http" else None
        await self._app(scope, receive, send if keys is None else _Answer(keys, send).send)


class _Answer:
    """Held back until it is whole, but for a stream of events, each of which comes in one piece."""

    def __init__(self, keys: DataKeys, send: _Send) -> None:
        self._keys = keys
        self._send = send
        self._start: _Message = {}
        self._body = bytearray()

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            if self._is_stream:
                await self._send(message)
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        if self._is_stream:
            await self._send({**message, "body": await opened_text(self._keys, message.get("body", b""))})
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._finish()

    async def _finish(self) -> None:
        body = bytes(self._body)
        if is_sealed(body):
            body = await opened_text(self._keys, body)
            kept = [each for each in self._start["headers"] if each[0].lower() != b"content-length"]
            self._start["headers"] = [*kept, (b"content-length", b"%d" % len(body))]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})

    @property
    def _is_stream(self) -> bool:
        return any(
            name.lower() == b"content-type" and value.startswith(_STREAM)
            for name, value in self._start["headers"]
        )


async def opened_text(keys: DataKeys, body: bytes) -> bytes:
    """JSON, or text with JSON in it, with everything opened; as it is while Kafka is away and it is not known whether a
    key was erased. Raises WrongKey."""
    if not is_sealed(body):
        return body
    text = body.decode()
    try:
        async with asyncio.timeout(_SETTLING_SECONDS):
            await keys.settle({found[1] for found in TOKEN.finditer(text)})
    except TimeoutError:
        return body

    def opened(found: re.Match[str]) -> str:
        if found["value"]:
            value = keys.open_token(found["value"])
            return dumps(ERASED if value is GONE else value).decode()
        value = keys.open_token(found["text"])
        told = ERASED_TEXT if value is GONE else value
        # It stands within a text already.
        return dumps(told if isinstance(told, str) else dumps(told).decode()).decode()[1:-1]

    return _SEALED.sub(opened, text).encode()
