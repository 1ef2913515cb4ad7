"""A client that sends whatever bytes it is told to, and sees every byte that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 15.0
"""Seconds that an answer, or the end of a connection, may take to come."""

_PROBE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_documented_error(self) -> bool:
        """`{error, status_code, path, correlation_id}` (api.md §8)."""
        said = self.json()
        return (
            said.keys() == {"error", "status_code", "path", "correlation_id"}
            and said["status_code"] == self.status
            and said["correlation_id"] == self.headers.get("x-correlation-id")
            and bool(said["error"])
        )


@dataclass
class Connection:
    """closed: the server has ended it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: bool = False
    _read: bytes = field(default=b"", repr=False)

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """A server that does not want to read it all is no failure of the sending."""
        with contextlib.suppress(ConnectionError):
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(pause)
                self.writer.write(piece)
                await self.writer.drain()

    def say_no_more(self) -> None:
        with contextlib.suppress(OSError):
            self.writer.write_eof()

    async def answer(self) -> Answer | None:
        """The next one; None where the connection ends first."""
        async with asyncio.timeout(PATIENCE):
            head = await self._until(b"\r\n\r\n")
            if head is None:
                return None
            status_line, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            status = int(status_line.split(" ")[1])
            length = 0 if status < 200 else int(headers["content-length"])
            while len(self._read) < length and await self._more():
                pass
            body, self._read = self._read[:length], self._read[length:]
            return Answer(status, headers, body)

    async def answers(self, count: int) -> list[Answer]:
        """Fewer where the connection ends before."""
        found: list[Answer] = []
        while len(found) < count and (answer := await self.answer()) is not None:
            found.append(answer)
        return found

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            while await self._more():
                pass
        return self._read

    async def is_in_step(self) -> bool:
        """Whether what comes next is the answer to what is asked next."""
        await self.send(_PROBE)
        answer = await self.answer()
        return answer is not None and answer.body == b'{"status":"ok"}' and not self._read

    async def _until(self, end: bytes) -> bytes | None:
        while end not in self._read:
            if not await self._more():
                return None
        found, _, self._read = self._read.partition(end)
        return found

    async def _more(self) -> bool:
        try:
            data = await self.reader.read(65_536)
        except ConnectionError:
            data = b""
        self.closed = not data
        self._read += data
        return bool(data)


@contextlib.asynccontextmanager
async def connected(port: int, by: str | None = None) -> AsyncIterator[Connection]:
    """by: the address that it comes from."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(by, 0) if by else None)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@dataclass(frozen=True)
class Exchange:
    """What came of sending some bytes. closed: the server ended the connection; else it went on in step."""

    answers: tuple[Answer, ...]
    closed: bool
    more: bytes = b""

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(answer.status for answer in self.answers)


async def exchange(
    port: int,
    pieces: Sequence[bytes],
    *,
    expected: int,
    closes: bool,
    half_close: bool = False,
    pause: float = 0.0,
) -> Exchange:
    """Send the pieces and read the expected number of answers; then see the connection end, or go on in step.

    Raises TimeoutError where neither happens.
    """
    async with connected(port) as connection:
        sending = asyncio.create_task(connection.send(*pieces, pause=pause))
        try:
            if half_close:
                await sending
                connection.say_no_more()
            answers = tuple(await connection.answers(expected))
            if closes or connection.closed:
                more = await connection.rest()
            else:
                await sending
                assert await connection.is_in_step()
                more = b""
        finally:
            sending.cancel()
        return Exchange(answers, connection.closed, more)
