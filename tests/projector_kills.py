"""Projectors as processes that are killed and stalled while the log grows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, count
from pathlib import Path

from sagahook.runtime.database import open_pool
from sagahook_tracker.domain.differences import Report
from sagahook_tracker.verifying import verify
from tests.preforked import Preforked, start_service
from tests.processes import halted
from tests.tracker_harness import KEEP_ALL, Tracker
from tests.tracker_log import SagaLog, Written, received, routed

SESSION_SECONDS = 1.0


class Projectors:
    """kill, stall: one at random, or the one with the number."""

    def __init__(self, tracker: Tracker, folder: Path, dice: random.Random) -> None:
        self._tracker = tracker
        self._folder = folder
        self._dice = dice
        self._running: list[Preforked] = []
        self._started = count()

    async def start(self) -> None:
        settings = self._tracker.settings
        env = {
            **os.environ,
            **{f"SAGAHOOK_{name.upper()}": str(value) for name, value in KEEP_ALL.items()},
            "SAGAHOOK_KAFKA": settings.kafka,
            "SAGAHOOK_TOPIC_PREFIX": settings.topic_prefix,
            "SAGAHOOK_SESSION_TIMEOUT": str(SESSION_SECONDS),
            "SAGAHOOK_HTTP_PORT": "0",
            "DATABASE_URL": settings.database_url.get_secret_value(),
        }
        log = self._folder / f"projector-{next(self._started)}.log"
        self._running.append(await start_service("sagahook_tracker", "project", env=env, log=log))

    async def kill_one(self) -> None:
        """Not before the views move on, so that it has work in hand; and another takes its place."""
        before = await self._tracker.projected()
        async with asyncio.timeout(60):
            while await self._tracker.projected() == before:
                await asyncio.sleep(0.01)
        await asyncio.sleep(self._dice.uniform(0, 0.3))
        victim = self._dice.choice(self._running)
        assert victim.returncode is None, "it ended by itself"
        victim.kill()
        await victim.wait()
        self._running.remove(victim)
        await self.start()

    async def stall_one(self, seconds: float) -> None:
        """Longer than its session: it goes on with a batch in hand that others have stored meanwhile."""
        victim = self._dice.choice(self._running)
        with halted(victim.pid):
            await asyncio.sleep(seconds)

    async def stop(self) -> None:
        for projector in self._running:
            projector.terminate()
        # One that only just started ends as every process does that has not said otherwise yet.
        assert {await projector.wait() for projector in self._running} <= {0, -signal.SIGTERM}


@asynccontextmanager
async def projectors(tracker: Tracker, folder: Path, how_many: int, seed: int) -> AsyncIterator[Projectors]:
    """While the log grows, until the end of the block; then they have projected all of it, and are stopped."""
    running = Projectors(tracker, folder, random.Random(seed))
    growing = asyncio.create_task(_grow(tracker))
    try:
        for _ in range(how_many):
            await running.start()
        await tracker.until_rows_of("links")
        yield running
        growing.cancel()
        await asyncio.wait({growing})
        await tracker.until_caught_up(seconds=60)
    finally:
        growing.cancel()
        await running.stop()


async def differences(tracker: Tracker) -> Report:
    """Between the views and a fold of the log."""
    pool = await open_pool(tracker.settings)
    try:
        return await verify(tracker.settings, pool)
    finally:
        await pool.close()


async def _grow(tracker: Tracker) -> None:
    for number in count():
        await tracker.log.write(chain(*(_story(5 * number + each) for each in range(5))))
        await asyncio.sleep(0.05)


def _story(number: int) -> list[Written]:
    """A webhook that starts two sagas on any partitions, of which one may be undone, and one that joins the first."""
    event, correlation_id = f"e{number}", f"c{number}"
    first = SagaLog(f"s{number}").started(event, correlation_id).done("reserve", "charge").completed()
    second = SagaLog(f"t{number}").started(event, correlation_id)
    second = second.declined() if number % 2 else second.done("reserve").completed()
    return [
        received(event, correlation_id),
        received(f"{event}-again", correlation_id),
        routed(event, correlation_id, f"s{number}", f"t{number}"),
        routed(f"{event}-again", correlation_id, f"s{number}"),
        *first.joined(f"{event}-again", correlation_id, "COMPLETED").written,
        *second.written,
    ]
