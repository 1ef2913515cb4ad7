"""One replica of ingest under ten times what it can take, with Kafka halted, and past a source's own limit.

    python -m bench.overload [SECONDS]

Each part says which answers there were, what the process held in memory, and how long after the end of the load new
senders were served again as they are without load: of a webhook every 20 ms, each on a connection of its own, all were
accepted within `within_ms` (twice the slowest of a calm second, at least 10) from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import served
from bench.arrivals import request_of
from bench.broker import long_lived_broker
from bench.load import json_body
from bench.served import Served
from sagahook.embedded.kafka import EmbeddedKafka

TIMES = 10
CONNECTIONS = 2_000
"""Requests that are under way at once, at most: senders that find no connection give up after a second."""
WAITING_CONNECTIONS = 3_000
"""While Kafka is halted: more than may wait for it (max_in_flight), so that the rest is refused at once."""
OPEN_LIMIT = 10.0
"""Webhooks a second that an unsigned source takes of each client, unless it is configured (api.md §8)."""

_PROBE_SECONDS = 0.02
_SAMPLE_SECONDS = 0.1
_CALM_SECONDS = 1.5
_AFTER_SECONDS = 10.0
_ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Probe:
    """When it was sent, on the system's monotonic clock; how long its answer took, in seconds."""

    at: float
    took: float
    status: int


@dataclass
class Watch:
    """What a new sender meets, and what the server holds, from beginning to end."""

    server: Served
    probes: list[Probe] = field(default_factory=list)
    resident: list[tuple[float, float]] = field(default_factory=list)
    _probing: set[asyncio.Task[None]] = field(default_factory=set)

    async def probe(self) -> None:
        while True:
            task = asyncio.create_task(self._probe_once())
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)
            await asyncio.sleep(_PROBE_SECONDS)

    async def sample(self) -> None:
        while True:
            self.resident.append((time.monotonic(), self.server.resident_mb()))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def slowest(self, began: float, ended: float) -> float:
        """Of those that were sent and answered in between."""
        return max(p.took for p in self.probes if began <= p.at and p.at + p.took <= ended)

    def recovered_after(self, ended: float, within: float) -> float | None:
        """Seconds; None where it did not happen while it was watched."""
        bad = [p.at for p in self.probes if p.at > ended and (p.status != 202 or p.took > within)]
        good = [p.at for p in self.probes if p.at > max(bad, default=ended)]
        return round(min(good) - ended, 3) if good else None

    def memory(self, began: float, ended: float) -> dict[str, float]:
        """Megabytes."""
        middle = (began + ended) / 2
        return {
            "before": next(mb for at, mb in reversed(self.resident) if at <= began),
            "middle": next(mb for at, mb in self.resident if at >= middle),
            "end": next(mb for at, mb in self.resident if at >= ended),
            "peak": max(mb for at, mb in self.resident),
        }

    async def _probe_once(self) -> None:
        body = json_body(served.BODY_BYTES)
        request = request_of(served.SIGNED, body, [served.signature_header(body), "Connection: close"])
        began = time.monotonic()
        status = 0
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
                writer.write(request)
                answer = await reader.read()
                writer.close()
            status = int(answer[9:12] or 0)
        except (OSError, TimeoutError):
            pass  # 0 stands for no answer at all
        self.probes.append(Probe(began, time.monotonic() - began, status))


@asynccontextmanager
async def watching(server: Served) -> AsyncIterator[Watch]:
    watch = Watch(server)
    tasks = [asyncio.create_task(watch.probe()), asyncio.create_task(watch.sample())]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _watched(server: Served, load: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """A calm second, the load, and the time after it."""
    async with watching(server) as watch:
        calm = time.monotonic()
        await asyncio.sleep(_CALM_SECONDS)
        began = time.monotonic()
        summary = await load
        ended = summary.pop("ended_at")
        await asyncio.sleep(_AFTER_SECONDS)
    within = max(2 * watch.slowest(calm, began), 0.010)
    probed: dict[str, int] = {}
    for probe in watch.probes:
        if began < probe.at < ended:
            probed[str(probe.status)] = probed.get(str(probe.status), 0) + 1
    return summary | {
        "new_senders": probed,
        "memory_mb": watch.memory(began, ended),
        "within_ms": round(within * 1000, 1),
        "recovered_after_s": watch.recovered_after(ended, within),
    }


async def measure(kafka: EmbeddedKafka, *, seconds: float = 10.0) -> dict[str, Any]:
    """`{"saturation": a second, "overload": …, "kafka_halted": …, "past_its_limit": …}`"""
    async with served.ingest(kafka.bootstrap) as server:
        await served.warm_up(server)
        most: float = (await served.load(server, seconds=2.0))["answered_per_second"]
        overload = served.load(server, rate=TIMES * most, connections=CONNECTIONS, seconds=seconds)
        waiting = served.load(server, rate=most, connections=WAITING_CONNECTIONS, seconds=seconds)
        limited = served.load(server, path=served.UNSIGNED, rate=TIMES * OPEN_LIMIT, seconds=seconds)
        return {
            "saturation": most,
            "overload": await _watched(server, overload),
            "kafka_halted": await _watched(server, _halted(kafka, waiting)),
            "past_its_limit": await _watched(server, limited),
        }


async def _halted(kafka: EmbeddedKafka, load: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The load, while the broker answers nothing; it goes on as the load ends."""
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        summary = await load
    finally:
        os.kill(kafka.pid, signal.SIGCONT)
    return summary | {"ended_at": time.monotonic()}


async def main(seconds: float = 10.0) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    async with long_lived_broker() as kafka:
        print(json.dumps(await measure(kafka, seconds=seconds), indent=2))


if __name__ == "__main__":
    asyncio.run(main(*(float(argument) for argument in sys.argv[1:2])))
