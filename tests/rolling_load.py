"""What goes into a deployment that is rolled out, and what comes out of it: senders, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

from orjson import dumps, loads

from tests.lean_http import LeanClient, Message, lean_server

SOURCE = "rolled"
LONGEST_STEP = 1.0


@dataclass
class Receiver:
    """Where outbound webhooks arrive: how often each, by its stable id, and what it said of which saga."""

    url: str = ""
    times: Counter[str] = field(default_factory=Counter)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, message: Message) -> None:
        body = loads(message.body)
        self.times[message.header("webhook-id") or ""] += 1
        self.told[body["data"]["task_id"], body["event_type"]] += 1


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with lean_server(receiver.take) as receiver.url:
        yield receiver


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
        with closing(LeanClient(self.ingest, 64)) as ingest, closing(LeanClient(self.api, 64)) as api:
            async with asyncio.TaskGroup() as tasks:
                while not stopping.is_set():
                    # All that are due by now: one for each turn of a busy loop would come to half the rate.
                    for number in range(sent, int((time.perf_counter() - began) * self.rate) + 1):
                        body = {
                            "id": str(number),
                            "seconds": dice.uniform(0, LONGEST_STEP),
                            "fail": number % 10 == 9,
                        }
                        tasks.create_task(self._send(ingest, api, body))
                        sent = number + 1
                    await asyncio.sleep(max(0.0, began + sent / self.rate - time.perf_counter()))

    async def _send(self, ingest: LeanClient, api: LeanClient, body: dict[str, object]) -> None:
        began = time.perf_counter()
        status, told = await self._ask(ingest, "POST", f"/webhooks/{SOURCE}", dumps(body))
        self.answers[str(status)] += 1
        self.slowest = max(self.slowest, time.perf_counter() - began)
        if status == 202:
            correlation_id = loads(told)["correlation_id"]
            self.accepted[correlation_id] = bool(body["fail"])
            if len(self.accepted) % 10 == 0:
                status, _ = await self._ask(api, "GET", f"/webhooks/{SOURCE}/status/{correlation_id}")
                self.asked[str(status)] += 1

    async def _ask(self, client: LeanClient, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        while True:
            try:
                return await client.ask(method, path, body)
            except OSError as closed:
                self.closed[type(closed).__name__] += 1
                await asyncio.sleep(0.01)

    async def wrong(self) -> dict[str, object]:
        """The statuses of what was accepted that are not what they should be, once they are all final."""
        with closing(LeanClient(self.api, 16)) as api:
            found = await asyncio.gather(*(self._final(api, each) for each in self.accepted))
        expected = {each: "failed" if fails else "completed" for each, fails in self.accepted.items()}
        return {
            each: status
            for each, status in zip(self.accepted, found, strict=True)
            if status != expected[each]
        }

    async def _final(self, api: LeanClient, correlation_id: str) -> object:
        status: dict[str, object] = {}
        for _ in range(3):
            with suppress(OSError):
                _, told = await api.ask("GET", f"/webhooks/{SOURCE}/status/{correlation_id}?wait=30")
                status = loads(told)
            if status.get("final"):
                return status["status"]
        return status or "no answer"
