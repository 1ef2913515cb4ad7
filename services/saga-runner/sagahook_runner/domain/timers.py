"""What a partition's sagas and limits wait for, by the time at which it is due."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

from sagahook_runner.domain.commands import Command

_NEVER = datetime.max.replace(tzinfo=UTC)


class RateDue(NamedTuple):
    """Time alone lets the next one in."""

    key: str


Timer = Command | RateDue


class Timers:
    """Those of sagas, by their ids, and of limits, by their keys. None is ever taken back: whoever gets one that has
    become pointless sees that by what it is for."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, int, str, Timer]] = []
        self._tie_breaker = count()
        self._rates_due: dict[str, datetime] = {}

    def set(self, due_at: datetime, key: str, timer: Timer) -> None:
        heapq.heappush(self._due, (due_at, next(self._tie_breaker), key, timer))

    def set_rate(self, due_at: datetime, key: str) -> None:
        """One for all that wait for the limit: the one that comes sets the next."""
        if due_at < self._rates_due.get(key, _NEVER):
            self._rates_due[key] = due_at
            self.set(due_at, key, RateDue(key))

    def next_due(self) -> datetime | None:
        return self._due[0][0] if self._due else None

    def pop_due(self, now: datetime) -> tuple[str, Timer] | None:
        """The next that has come, and whose it is."""
        if not self._due or self._due[0][0] > now:
            return None
        _, _, key, timer = heapq.heappop(self._due)
        if isinstance(timer, RateDue):
            self._rates_due.pop(key, None)
        return key, timer
