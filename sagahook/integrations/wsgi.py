"""A request to a server that waits, as an ASGI application sees it.

The request's own thread reads its body, a piece each time that the application asks for one: so a limit holds while a
body comes in, and whoever sends slowly takes nobody's time but their own thread's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from sagahook.integrations.asgi import Application, Message, Scope, content_length, error
from sagahook.integrations.background import Background

_PIECE = 64 * 1024
_PATIENCE = 60.0
"""Seconds for an answer. Every application here answers sooner, or says itself that it cannot."""

Read = Callable[[int], bytes]
"""The next bytes of the body, at most so many; none at its end."""


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


_Asked = asyncio.Future[Message]


def scope_of(environ: Mapping[str, Any]) -> Scope:
    """environ: as in PEP 3333."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    peer = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "method": environ["REQUEST_METHOD"],
        "path": path.encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": list(_headers(environ)),
        "client": (peer, int(environ.get("REMOTE_PORT") or 0)) if peer else None,
    }


def call(background: Background, app: Application, scope: Scope, read: Read) -> Answer:
    """What `app` answers, in the background's loop, while this thread waits."""
    turns: SimpleQueue[_Asked | Answer | BaseException] = SimpleQueue()
    body = _Body(read, content_length(scope))
    answering = asyncio.run_coroutine_threadsafe(_answered(app, scope, turns), background.loop)
    try:
        while True:
            turn = turns.get(timeout=_PATIENCE)
            if isinstance(turn, Answer):
                return turn
            if isinstance(turn, BaseException):
                raise turn
            background.loop.call_soon_threadsafe(_give, turn, body.next())
    except Empty:
        return _told(error(scope, 503, "There was no answer in time; send it again", retry_after=5))
    finally:
        answering.cancel()


class _Body:
    """declared: bytes; None: until it ends."""

    def __init__(self, read: Read, declared: int | None) -> None:
        self._read = read
        self._left = declared

    def next(self) -> Message:
        if self._left is None:
            piece = self._read(_PIECE)
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}
        piece = self._read(min(_PIECE, self._left)) if self._left else b""
        if self._left and not piece:
            return {"type": "http.disconnect"}
        self._left -= len(piece)
        return {"type": "http.request", "body": piece, "more_body": self._left > 0}


async def _answered(
    app: Application, scope: Scope, turns: SimpleQueue[_Asked | Answer | BaseException]
) -> None:
    loop = asyncio.get_running_loop()
    begun: Message = {
        "status": 400,
        "headers": [],
    }  # nobody hears it: the sender was gone before the body's end
    pieces: list[bytes] = []

    async def receive() -> Message:
        asked: _Asked = loop.create_future()
        turns.put(asked)
        return await asked

    async def send(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = message
        else:
            pieces.append(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except BaseException as failed:
        turns.put(failed)
        raise
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun["headers"]]
    turns.put(Answer(begun["status"], headers, b"".join(pieces)))


def _give(asked: _Asked, message: Message) -> None:
    if not asked.done():
        asked.set_result(message)


def _told(response: Any) -> Answer:
    return Answer(response.status_code, list(response.headers.items()), bytes(response.body))


def _headers(environ: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            bare = name[5:]
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            bare = name
        else:
            continue
        yield bare.replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")
