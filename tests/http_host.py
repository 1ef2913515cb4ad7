"""A host on loopback that a step calls: a real aiohttp server, and one on bare sockets that can lie."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sagahook.saga.context import StepContext
from sagahook.saga.http import HttpStep

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def context(phase: str = "action", **told: Any) -> StepContext:
    defaults: dict[str, Any] = {
        "saga": "order",
        "saga_id": "saga-1",
        "run": 1,
        "step": "charge",
        "phase": phase,
        "attempt": 1,
        "correlation_id": "correlation-1",
        "idempotency_key": f"saga-1/1/charge/{phase}",
        "action_key": "saga-1/1/charge/action",
        "context": {"order_id": "A1", "amount": 42, "customer": {"id": 7}},
        "results": {"reserve": {"id": "r-9"}},
    }
    return StepContext(**defaults | told)


async def run(step: HttpStep, ctx: StepContext | None = None) -> Any:
    """As the engine calls a step's action."""
    return await step.action()(None, ctx or context())


async def undo(step: HttpStep, result: Any = None, ctx: StepContext | None = None) -> None:
    compensation = step.compensation()
    assert compensation is not None
    await compensation(None, ctx or context("compensation"), result)


@dataclass
class Host:
    """answer: what the next requests are answered, or a function that answers them."""

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: web.Response | Handler | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        if callable(self.answer):
            return await self.answer(request)
        answer = self.answer or web.json_response({"id": "c-1"})
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)

    def says(self, status: int, **headers: str) -> None:
        self.answer = web.Response(status=status, headers=headers)


@asynccontextmanager
async def open_host() -> AsyncIterator[Host]:
    host = Host()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", host.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield host
    finally:
        await runner.cleanup()


@dataclass
class Liar:
    """Answers each request with these bytes; then closes, unless it holds the line."""

    url: str = ""
    connections: int = 0
    answer: bytes = b""
    holds: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
            if self.holds:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def open_liar() -> AsyncIterator[Liar]:
    liar = Liar()
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    liar.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield liar
    finally:
        server.close()
