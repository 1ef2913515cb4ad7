"""HTTP for a load that must not take the processor from those that bear it: JSON, over connections that are kept."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, cast
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Message(NamedTuple):
    """head: its first line and its headers, up to the empty line."""

    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        found = re.search(rb"\r\n%s: *([^\r]*)" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return found[1].decode() if found else None


class _Parser:
    """Whole messages, each with its length."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Message | None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self._buffer, 0, end + 2)
        until = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < until:
            return None
        message = Message(self._buffer[:end], self._buffer[end + 4 : until])
        self._buffer = self._buffer[until:]
        return message


class _Connection(asyncio.Protocol):
    """A client's, with one request under way at most."""

    def __init__(self) -> None:
        self._parser = _Parser()
        self._answer: asyncio.Future[Message] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it

    async def ask(self, request: bytes) -> Message:
        """Raises ConnectionResetError where the connection is closed over it."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        message = self._parser.feed(data)
        if message is None or self._answer is None:
            return
        if _CLOSE.search(message.head):
            self.is_open = False
            self._transport.close()
        if not self._answer.done():
            self._answer.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed over a request"))

    def close(self) -> None:
        self.is_open = False
        self._transport.close()


class LeanClient:
    """Of one origin, over `limit` connections at most."""

    def __init__(self, origin: str, limit: int) -> None:
        parts = urlsplit(origin)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free: deque[_Connection] = deque()
        self._room = asyncio.Semaphore(limit)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises ConnectionResetError where the connection is closed over the request, and OSError
        where there is none."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with self._room:
            connection = await self._connected()
            answer = await connection.ask(request)
            if connection.is_open:
                self._free.append(connection)
        return int(answer.head[9:12]), answer.body

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    async def _connected(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


class _Served(asyncio.Protocol):
    def __init__(self, take: Callable[[Message], None]) -> None:
        self._take = take
        self._parser = _Parser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if (message := self._parser.feed(data)) is not None:
            self._take(message)
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


@asynccontextmanager
async def lean_server(take: Callable[[Message], None]) -> AsyncIterator[str]:
    """Answers each request with 204, once `take` has it. Yields its URL."""
    server = await asyncio.get_running_loop().create_server(lambda: _Served(take), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
