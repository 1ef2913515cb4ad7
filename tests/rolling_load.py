"""What goes into a deployment that is rolled out, and what comes out of it: senders, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

SOURCE = "rolled"
LONGEST_STEP = 1.0


@dataclass
class Receiver:
    """Where outbound webhooks arrive: how often each, by its stable id, and what it said of which saga."""

    url: str = ""
    times: Counter[str] = field(default_factory=Counter)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.times[request.headers["webhook-id"]] += 1
        self.told[body["data"]["task_id"], body["event_type"]] += 1
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Load:
    """Webhooks at a steady rate, and questions about them.

    answers, asked: by what came of a request, `202` or what else. closed: connections that were closed over a request;
    any server closes idle ones, and its senders send again. accepted: whether it is to fail, by correlation id.
    """

    ingest: str
    api: str
    rate: float
    answers: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, bool] = field(default_factory=dict)
    slowest: float = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        dice = random.Random(8)
        began, sent = time.perf_counter(), 0
        async with (
            asyncio.TaskGroup() as tasks,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        ):
            sending: set[asyncio.Task[None]] = set()
            while not stopping.is_set():
                # All that are due by now: one for each turn of this loop would come to half the rate when it is busy.
                for number in range(sent, int((time.perf_counter() - began) * self.rate) + 1):
                    body = {
                        "id": str(number),
                        "seconds": dice.uniform(0, LONGEST_STEP),
                        "fail": number % 10 == 9,
                    }
                    task = tasks.create_task(self._send(session, body))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                    sent = number + 1
                await asyncio.sleep(max(0.0, began + sent / self.rate - time.perf_counter()))
            await asyncio.gather(*sending)

    async def _send(self, session: aiohttp.ClientSession, body: dict[str, object]) -> None:
        began = time.perf_counter()
        try:
            async with session.post(f"{self.ingest}/webhooks/{SOURCE}", json=body) as answer:
                told = await answer.json()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as closed:
            self.closed[type(closed).__name__] += 1
            await self._send(session, body)
            return
        self.answers[str(answer.status)] += 1
        self.slowest = max(self.slowest, time.perf_counter() - began)
        if answer.status == 202:
            self.accepted[told["correlation_id"]] = bool(body["fail"])
            if len(self.accepted) % 10 == 0:
                await self._ask(session, told["correlation_id"])

    async def _ask(self, session: aiohttp.ClientSession, correlation_id: str) -> None:
        try:
            async with session.get(f"{self.api}/webhooks/{SOURCE}/status/{correlation_id}") as answer:
                self.asked[str(answer.status)] += 1
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as closed:
            self.closed[type(closed).__name__] += 1
            await self._ask(session, correlation_id)

    async def wrong(self) -> dict[str, object]:
        """The statuses of what was accepted that are not what they should be, once they are all final."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:
            found = await asyncio.gather(*(self._final(session, each) for each in self.accepted))
        expected = {each: "failed" if fails else "completed" for each, fails in self.accepted.items()}
        return {
            each: status
            for each, status in zip(self.accepted, found, strict=True)
            if status != expected[each]
        }

    async def _final(self, session: aiohttp.ClientSession, correlation_id: str) -> object:
        url = f"{self.api}/webhooks/{SOURCE}/status/{correlation_id}?wait=30"
        status: dict[str, object] = {}
        for _ in range(3):
            with suppress(aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                async with session.get(url) as answer:
                    status = await answer.json()
            if status.get("final"):
                return status["status"]
        return status or "no answer"
