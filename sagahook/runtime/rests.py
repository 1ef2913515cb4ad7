"""How long whoever works in batches rests between two of them.

Each batch costs a request to Kafka or a transaction of the database, and each fetch one of the broker's turns, whatever
they carry; and on a machine that has much to do a rest leaves the more to the others. What comes meanwhile shares the
next batch. Where the machine has time a batch is over soon, and so is the rest, if there is one at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_LONGEST_REST = 0.01
"""Seconds that a reader rests at most: somebody waits for what it reads, half of this and a batch on average."""

BACKLOG = 500
"""Records in one batch that tell a reader of a backlog: it is worked off without rest."""


class Rests:
    """factor: in terms of what a batch took. longest: seconds that it rests at most. quick: seconds that a batch takes
    where the machine has time; a rest is for what it takes beyond. leisure: seconds that it rests at least, where
    nobody waits for what comes next. longer: told how long a rest is, it may take longer; and where it does not, the
    rest is as long as it is."""

    def __init__(
        self,
        factor: float,
        *,
        longest: float = _LONGEST_REST,
        quick: float = 0.0,
        leisure: Callable[[], float] = lambda: 0.0,
        longer: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._factor = factor
        self._longest = longest
        self._quick = quick
        self._leisure = leisure
        self._longer = longer
        self._until = 0.0

    def begin(self, began: float, *, is_behind: bool) -> None:
        """began: when the batch that has ended now began, in seconds of the monotonic clock."""
        now = time.monotonic()
        rest = min(self._factor * max(0.0, now - began - self._quick), self._longest)
        self._until = 0.0 if is_behind else now + max(rest, self._leisure())

    async def over(self) -> bool:
        """Once it is; whether it was not before."""
        rest = self._until - time.monotonic()
        if rest <= 0:
            return False
        if self._longer is not None:
            await self._longer(rest)
        await asyncio.sleep(self._until - time.monotonic())
        return True
