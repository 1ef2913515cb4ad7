"""What an example plays on: the stack with its sagas, and its own servers, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from sagahook.embedded.example import Example, Place, Server, Stage
from sagahook.embedded.process import Child, Command
from sagahook.embedded.saga_log import SagaLog
from sagahook.embedded.stack import Stack, StackOptions

STACK = "sagahook"
"""The name of the stack's own port among those of the servers."""
_START_SECONDS = 60
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Posted:
    """A webhook that was accepted. at: epoch seconds, when it was sent; taken: seconds until it was answered."""

    source: str
    body: Any
    at: float
    taken: float
    correlation_id: str
    event_id: str


class World:
    """The stack and the servers as people and other systems see them: from outside."""

    def __init__(self, place: Place, stack: Stack, log: SagaLog, http: aiohttp.ClientSession) -> None:
        self._place = place
        self.stack = stack
        self.log = log
        self.http = http
        self.secret = place.secret
        description = stack.description()
        self.api: str = description["api"]
        self.kafka: str = description["kafka"]
        self.keys: dict[str, str] = description["keys"]

    def url(self, server: str) -> str:
        return self._place.url(server)

    def gaps(self) -> dict[str, str]:
        """What stands for each gap of Example.poke."""
        return {
            **self._place.urls(),
            "api": self.api,
            "secret": self.secret,
            "app": self.stack.options.app,
            **self.keys,
        }

    async def post(self, source: str, body: Any, headers: Mapping[str, str] | None = None) -> Posted:
        """Send a webhook. Raises aiohttp.ClientResponseError where it is not accepted."""
        at, started = time.time(), time.perf_counter()
        async with self.http.post(
            f"{self.api}/webhooks/{source}", json=body, headers=dict(headers or {})
        ) as response:
            taken = time.perf_counter() - started
            response.raise_for_status()
            answer = await response.json()
        return Posted(source, body, at, taken, answer["correlation_id"], answer["event_id"])

    async def status(self, posted: Posted) -> dict[str, Any]:
        """What became of the webhook, once that is final, or after 30 s."""
        path = f"/webhooks/{posted.source}/status/{posted.correlation_id}?wait=30"
        status: dict[str, Any] = await self.get(path)
        return status

    async def saga(self, saga_id: str) -> dict[str, Any]:
        saga: dict[str, Any] = await self.get(f"/webhooks/status/{saga_id}")
        return saga

    async def get(self, where: str, role: str | None = None) -> Any:
        """The decoded answer. where: a URL, or a path of the API; role: whose key is sent.

        Raises aiohttp.ClientResponseError for every error, as send() does.
        """
        return await self.send("GET", where, role=role)

    async def send(self, method: str, where: str, json: Any = None, role: str | None = None) -> Any:
        url = where if where.startswith("http") else self.api + where
        headers = {"Authorization": f"Bearer {self.keys[role]}"} if role else {}
        async with self.http.request(method, url, json=json, headers=headers) as response:
            response.raise_for_status()
            return await response.json()

    async def until(self, where: str, true: Callable[[Any], Any], role: str | None = None) -> Any:
        """The first answer to GET that it is true of; a 404 counts as none. Waits for as long as that takes."""
        while True:
            try:
                answer = await self.get(where, role)
                if true(answer):
                    return answer
            except aiohttp.ClientResponseError as refused:
                if refused.status != 404:
                    raise
            await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def opened(example: Example, folder: Path, say: Callable[[str], None]) -> AsyncIterator[World]:
    """Start everything; in the end leave no process behind. `say` gets lines for people.

    Raises StackError where something does not start. All data and logs are under `folder`.
    """
    place = Place(folder)
    stage = example.stage(place)
    options = StackOptions(
        app=stage.app, data=folder / "stack", port=place.port(STACK), env=dict(stage.settings)
    )
    stack = Stack(options, say=say)
    async with contextlib.AsyncExitStack() as running:
        running.callback(place.release)
        http = await running.enter_async_context(aiohttp.ClientSession())
        starting = [
            await _start(running, place, server) for server in stage.servers if not server.after_stack
        ]
        running.push_async_callback(stack.stop)
        await stack.start()
        for server, child in starting:
            await _until_ready(http, place, server, child)
        for server in stage.servers:
            if server.after_stack:
                _, child = await _start(running, place, server, _told(stack, stage))
                await _until_ready(http, place, server, child)
        log = await running.enter_async_context(SagaLog(stack.description()["kafka"]).following())
        yield World(place, stack, log, http)


def _told(stack: Stack, stage: Stage) -> dict[str, str]:
    description = stack.description()
    return {
        "SAGAHOOK_URL": description["api"],
        "SAGAHOOK_KEY": description["keys"]["operator"],
        "SAGAHOOK_ADMIN_KEY": description["keys"]["admin"],
        "SAGAHOOK_KAFKA": description["kafka"],
        "SAGAHOOK_TOPIC_PREFIX": stack.options.prefix,
        "SAGAHOOK_APP": stage.app,
        "DATABASE_URL": description["postgres"],
    }


async def _start(
    running: contextlib.AsyncExitStack, place: Place, server: Server, told: Mapping[str, str] | None = None
) -> tuple[Server, Child]:
    argv = (sys.executable, "-m", server.module, *server.arguments)
    environment = {**os.environ, **(told or {}), **server.env}
    child = await Child.spawn(Command(argv, place.folder / f"{server.name}.log", environment))
    running.push_async_callback(child.stop, 5)
    return server, child


async def _until_ready(http: aiohttp.ClientSession, place: Place, server: Server, child: Child) -> None:
    url = place.url(server.name) + server.ready
    await child.until(partial(_answers, http, url), name=f"{server.name} ({url})", seconds=_START_SECONDS)


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
