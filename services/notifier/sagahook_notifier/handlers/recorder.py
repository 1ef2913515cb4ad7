"""Group commit: the attempts that end while a transaction is under way go into the next one together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sagahook_notifier.adapters.dispatch_store import DispatchStore, Judge
from sagahook_notifier.domain.deliveries import Finished
from sagahook_notifier.domain.operational import Disabled
from sagahook_notifier.handlers.dependency import Dependency

_MOST = 500
"""Attempts that one transaction records."""

OnRecorded = Callable[[Sequence[Finished], Sequence[Finished], Sequence[Disabled]], None]
"""What was to be recorded, what was because its lease was ours still, and the endpoints that were disabled by it."""


class Recorder:
    def __init__(
        self, *, store: DispatchStore, database: Dependency, judge: Judge, on_recorded: OnRecorded
    ) -> None:
        self._store = store
        self._database = database
        self._judge = judge
        self._on_recorded = on_recorded
        self._waiting: list[Finished] = []
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def put(self, finished: Finished) -> None:
        self._waiting.append(finished)
        self._none.clear()
        self._some.set()

    async def run(self) -> None:
        """Until it is cancelled. A database that is away is waited for."""
        while True:
            await self._some.wait()
            while self._waiting:
                together, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._record(together)
            self._some.clear()
            self._none.set()

    async def all_recorded(self) -> None:
        await self._none.wait()

    async def _record(self, finished: Sequence[Finished]) -> None:
        recorded, disabled = await self._database.reach(
            lambda: self._store.record(finished, self._judge, finished[-1].at)
        )
        self._on_recorded(finished, recorded, disabled)
