"""What a Service of Kubernetes does, in small: each new connection goes to the next replica that says it is ready.

Connections that are there stay where they are, whatever their replica says by then: nobody moves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

_LOOK_SECONDS = 0.2
_CHUNK = 64 * 1024


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

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            behind = await self._connected()
            if behind is not None:
                await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))
        except OSError:
            pass  # either side has gone; the other one hears of it
        finally:
            writer.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        ready = self._ready
        if not ready:
            return None
        self._turn += 1
        host, _, port = ready[self._turn % len(ready)].removeprefix("http://").rpartition(":")
        return await asyncio.open_connection(host, int(port))


@asynccontextmanager
async def balancing() -> AsyncIterator[Balancer]:
    balancer = Balancer()
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0, backlog=1024)
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


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
