"""How long a reader of the log rests between two batches.

Each batch costs a transaction of the database and each fetch one of the broker's turns, whatever they carry; and on a
machine that has much to do a rest leaves the more to the others. What comes meanwhile shares the next batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_LONGEST_REST = 0.03
"""Seconds."""

BACKLOG = 500
"""Records in one batch that tell of a backlog: it is worked off without rest."""

AT_ONCE = 0.002
"""Seconds: a poll that took no longer got what aiokafka held already. It fetches nothing as long as it holds records
that nobody polled, and what it holds after a rest is from the rest's beginning: so it is polled once more then."""

FRESH_MS = 10
"""How long the answer to the fetch is waited for that the poll before has set off."""


class Rests:
    """factor: in terms of what the batch took, up to _LONGEST_REST. leisure: seconds that it rests at least, where
    nobody waits for what comes next."""

    def __init__(self, factor: float, leisure: Callable[[], float]) -> None:
        self._factor = factor
        self._leisure = leisure
        self._until = 0.0

    def begin(self, took: float, *, is_behind: bool) -> None:
        """took: seconds of the batch that has ended now."""
        rest = max(min(self._factor * took, _LONGEST_REST), self._leisure())
        self._until = 0.0 if is_behind else time.monotonic() + rest

    async def over(self) -> bool:
        """Once it is; whether it was not before."""
        rest = self._until - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        return rest > 0
