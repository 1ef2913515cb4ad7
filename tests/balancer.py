"""What a Service of Kubernetes does, in small: each new connection goes to the next replica that says it is ready.

Connections that are there stay where they are, whatever their replica says by then: nobody moves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import aiohttp

_LOOK_SECONDS = 0.4
"""Kubernetes looks once in seconds; less often than this would be more than a stop waits (`STOP_DELAY`)."""


class Balancer:
    """`url` is one address for all replicas."""

    def __init__(self) -> None:
        self._replicas: list[str] = []
        self._ready: list[str] = []
        self._turn = 0
        self.url = ""

    def add(self, replica: str) -> None:
        """replica: its URL. It gets connections as soon as it is ready."""
        self._replicas.append(replica)

    def remove(self, replica: str) -> None:
        self._replicas.remove(replica)

    async def run(self) -> None:
        """Look who is ready, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=2.0)
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                replicas = list(self._replicas)
                ready = await asyncio.gather(*(_is_ready(session, replica) for replica in replicas))
                self._ready = [replica for replica, is_ready in zip(replicas, ready, strict=True) if is_ready]
                await asyncio.sleep(_LOOK_SECONDS)

    async def connect(self, sender: _End) -> None:
        """What the sender says goes to the next replica, and back; the connection ends where there is none."""
        ready = self._ready
        try:
            if not ready:
                raise ConnectionRefusedError
            self._turn += 1
            host, _, port = ready[self._turn % len(ready)].removeprefix("http://").rpartition(":")
            await asyncio.get_running_loop().create_connection(lambda: _End(sender), host, int(port))
        except OSError:
            sender.close()


class _End(asyncio.Protocol):
    """One of the two connections that are one through the balancer."""

    def __init__(self, other: _End | None = None, connect: Callable[[_End], object] | None = None) -> None:
        self._other = other
        self._connect = connect
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        if self._connect is not None:
            self._connect(self)
        elif self._other is not None:
            self._other._meet(self)

    def _meet(self, other: _End) -> None:
        self._other = other
        for data in self._early:
            other._transport.write(data)
        if self._transport.is_closing():  # it did not wait
            other.close()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other._transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._transport.resume_reading()

    def eof_received(self) -> None:
        """Both ends are closed, and the other one hears of it."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.close()

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def balancing() -> AsyncIterator[Balancer]:
    balancer = Balancer()
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    def connect(sender: _End) -> None:
        task = loop.create_task(balancer.connect(sender))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    server = await loop.create_server(lambda: _End(connect=connect), "127.0.0.1", 0, backlog=1024)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    looking = asyncio.create_task(balancer.run())
    try:
        yield balancer
    finally:
        looking.cancel()
        server.close()


async def _is_ready(session: aiohttp.ClientSession, replica: str) -> bool:
    try:
        async with session.get(f"{replica}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
