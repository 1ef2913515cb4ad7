"""Many requests at once, and what was answered to them."""

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from tests.processes import until
from tests.web_contract import Web

_TOGETHER = 40


@dataclass
class Senders:
    """Each sends one parcel after the other, until told to stop. A request whose connection broke is not sent again:
    nobody knows what became of it, and nobody was promised anything."""

    web: Web
    accepted: dict[str, str] = field(default_factory=dict)
    """event id → the parcel, of every 202."""
    broken: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, senders: int = 12) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(senders):
                tasks.create_task(self._send_on())

    async def until_accepted(self, more: int) -> None:
        """So many more than now."""
        wanted = len(self.accepted) + more
        async with asyncio.timeout(60):
            while len(self.accepted) < wanted:
                await asyncio.sleep(0.01)

    async def _send_on(self) -> None:
        while not self.stopping.is_set():
            parcel = uuid.uuid4().hex
            try:
                answer = await self.web.post("/webhooks/parcels", {"parcel": parcel})
            except aiohttp.ClientError:
                self.broken += 1
                await asyncio.sleep(0.02)
                continue
            if answer.status == 202:
                self.accepted[answer.body["event_id"]] = parcel
            else:
                assert answer.status == 503, answer
                assert int(answer.headers["Retry-After"]) > 0


async def kill_workers(senders: Senders, victim: Callable[[], Awaitable[int]]) -> None:
    """Under load, one after the other, until some sender's connection broke by it. victim: a worker's process id."""
    before = senders.broken
    while senders.broken == before:
        await senders.until_accepted(50)
        killed = await victim()
        os.kill(killed, signal.SIGKILL)
        await until(lambda gone=killed: gone not in senders.web.server.workers())  # type: ignore[misc]
    await senders.until_accepted(50)


async def lost_by_killing_workers(web: Web, victim: Callable[[], Awaitable[int]]) -> dict[str, str]:
    """Of what was answered 202 meanwhile, what the log does not hold."""
    senders = Senders(web)
    sending = asyncio.create_task(senders.run())
    await kill_workers(senders, victim)
    senders.stopping.set()
    await sending
    return await missing(web, senders.accepted)


async def missing(web: Web, accepted: dict[str, str]) -> dict[str, str]:
    """Of what was answered 202, what the log does not hold as it was sent."""
    held = {(record.key or b"").decode(): (record.value or b"").decode() for record in await web.log.read()}
    return {event: parcel for event, parcel in accepted.items() if parcel not in held.get(event, "")}


async def statuses_of(web: Web, requests: int) -> Counter[tuple[int, str]]:
    """So many webhooks at the same moment: how they were answered, and their statuses once these are final."""
    answers = await asyncio.gather(
        *(web.post("/webhooks/parcels", {"parcel": uuid.uuid4().hex}) for _ in range(requests))
    )
    few = asyncio.Semaphore(_TOGETHER)

    async def final(correlation_id: str) -> str:
        async with few:
            status: str = (await web.final_of(correlation_id))["status"]
            return status

    told = await asyncio.gather(*(final(answer.body["correlation_id"]) for answer in answers))
    return Counter(zip((answer.status for answer in answers), told, strict=True))
