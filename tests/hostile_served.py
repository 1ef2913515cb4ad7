"""A small application served as every service is, in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import uvicorn

from sagahook.embedded.ports import free_port
from sagahook.runtime.service import http_config
from sagahook.runtime.settings import ServiceSettings
from tests.hostile_client import Connection

A = TypeVar("A")


class Server(uvicorn.Server):
    """As a service's: signals are not its affair."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Served(Generic[A]):
    def __init__(self, app: A, server: Server, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port


@contextlib.asynccontextmanager
async def served(app: A, **changed: Any) -> AsyncIterator[Served[A]]:
    """changed: of the settings. The application need not know of ASGI's lifespan."""

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)  # type: ignore[operator]
            return
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    config = http_config(ServiceSettings(kafka="none", **changed), whole)
    config.port = free_port()
    server = Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Served(app, server, config.port)
    finally:
        server.should_exit = True
        await running


async def ask(connection: Connection, request: bytes) -> tuple[int, bytes]:
    await connection.send(request)
    answer = await connection.answer()
    assert answer is not None
    return answer.status, answer.body
