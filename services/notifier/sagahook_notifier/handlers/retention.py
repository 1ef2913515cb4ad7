"""Lets go of what is finished and old, in small portions, and as gently as it can."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook_notifier.adapters.retention_store import DEAD, DELIVERED, OldRows, RetentionStore
from sagahook_notifier.domain.retention import Cutoffs, Kept, cutoffs
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.metrics import LET_GO

log = get_logger(__name__)

AT_ONCE = 1_000
"""Rows of one transaction, and endpoints that are gone through together."""

_LONGEST_REST = 1.0
"""Seconds."""


class Retention:
    """Several processes may run one: a single one cleans at a time."""

    def __init__(self, store: RetentionStore, database: Dependency, kept: Kept, clock: Clock) -> None:
        self._store = store
        self._database = database
        self._kept = kept
        self._clock = clock

    async def run(self, every: float) -> None:
        """At once, and so many seconds after each time, until cancelled."""
        while True:
            gone = await self._database.reach(self.clean)
            if gone:
                log.info("retention.cleaned", gone=dict(gone))
            await asyncio.sleep(every)

    async def clean(self) -> Counter[str]:
        """What was let go. Raises Unavailable, and then something is left for the next time."""
        gone: Counter[str] = Counter()
        async with self._store.cleaning() as rows:
            if rows is None:
                return gone
            before = cutoffs(self._kept, self._clock.now(), await rows.read_until())
            if before is not None:
                await self._clean(rows, before, gone)
        return gone

    async def _clean(self, rows: OldRows, before: Cutoffs, gone: Counter[str]) -> None:
        # From here on intake makes nothing of what is behind it, so that what goes now does not come again.
        await rows.raise_fence(before.fence)
        endpoints = await rows.endpoints()
        for first in range(0, len(endpoints), AT_ONCE):
            of_some = partial(rows.expire_deliveries, endpoints[first : first + AT_ONCE])
            await _all_of(gone, "deliveries", partial(of_some, DELIVERED, before.fence))
            if before.dead is not None:
                await _all_of(gone, "dead_letters", partial(of_some, DEAD, before.dead))
        await _all_of(gone, "sagas", partial(rows.expire_sagas, before.sagas))
        await _all_of(gone, "callers", partial(rows.expire_callers, before.fence))


async def _all_of(gone: Counter[str], what: str, expire: Callable[[int], Awaitable[int]]) -> None:
    """In portions, with a rest after each that is as long as it took: half of the time at most."""
    clock = asyncio.get_running_loop()
    last = AT_ONCE
    while last == AT_ONCE:
        began = clock.time()
        if last := await expire(AT_ONCE):
            gone[what] += last
            LET_GO.labels(what).inc(last)
        await asyncio.sleep(min(clock.time() - began, _LONGEST_REST))
