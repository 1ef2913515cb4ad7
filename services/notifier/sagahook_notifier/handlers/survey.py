"""Looks now and then what there is, and tells the metrics. Every replica tells the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from sagahook.runtime.clock import Clock
from sagahook_notifier import metrics
from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.survey_store import SurveyStore
from sagahook_notifier.handlers.dependency import Dependency

EVERY = 15.0
"""Seconds between two looks."""


class Survey:
    def __init__(
        self, store: SurveyStore, deliveries: DispatchStore, database: Dependency, clock: Clock
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. While the database is away, what was told last stays."""
        while True:
            await self._database.reach(self.look)
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Raises Unavailable."""
        counted = await self._store.count()
        waiting = await self._deliveries.waiting()
        dues = await self._deliveries.next_due(waiting) if waiting else {}
        for state in metrics.ENDPOINT_STATES:
            metrics.ENDPOINTS.labels(state).set(counted.endpoints.get(state, 0))
        metrics.WAITING.set(counted.deliveries)
        metrics.OUTBOX.set(counted.outbox)
        metrics.LATE.set(late_seconds(dues.values(), self._clock.now()))


def late_seconds(dues: Iterable[datetime], now: datetime) -> float:
    """How long the one that should have been sent first has been due; 0: none is."""
    first = min(dues, default=now)
    return max(0.0, (now - first).total_seconds())
