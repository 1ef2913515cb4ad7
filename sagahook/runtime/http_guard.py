"""What all connections of one HTTP server share: the bounds, one clock, one sweep a second, and what was refused."""

from __future__ import annotations

import asyncio
import math
from collections import Counter as Tally
from collections.abc import Collection
from typing import Protocol

from sagahook.runtime.logging import get_logger
from sagahook.runtime.metrics import HTTP_CONNECTIONS, HTTP_REFUSED
from sagahook.runtime.settings import ServiceSettings

log = get_logger(__name__)

SWEEP_SECONDS = 1.0
PROBES = frozenset({b"/livez", b"/readyz", b"/startupz", b"/health", b"/metrics"})
"""Answered also where every connection is taken: a service under attack is not to be restarted for it."""


class Watched(Protocol):
    """A connection, as the sweep sees it."""

    def look(self, now: float) -> None:
        """Cut it if it is too slow. now: the loop's time."""
        ...

    def idle_since(self) -> float:
        """Since when it waits for its first or its next request, of which nothing came yet; infinite where it does
        not."""
        ...

    def leave(self) -> None:
        """Close it."""
        ...


class HttpGuard:
    """For one server in one event loop.

    now: the loop's time at the last sweep, so at most a second old. Whoever needs no better time reads it there,
    and no request costs a timer.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.spare = max(16, settings.http_connections // 8)
        """Connections above the bound that are held for the probes, and to say 503 to everybody else."""
        self.now = 0.0
        self.leaving = False
        """The process is going to end: the next answer on each connection is its last."""
        self._connections: Collection[Watched] = ()
        self._sweeping: asyncio.TimerHandle | None = None
        self._idle: list[Watched] = []
        self._idle_at = -1.0
        self._refused: Tally[str] = Tally()

    def watch(self, connections: Collection[Watched], loop: asyncio.AbstractEventLoop) -> None:
        """Sweep over the connections for as long as there are any. A call more changes nothing."""
        if self._sweeping is None:
            self._connections = connections
            self.now = loop.time()
            self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def refused(self, reason: str) -> None:
        HTTP_REFUSED.labels(reason).inc()
        self._refused[reason] += 1

    def part_with_idle(self) -> None:
        """Close every connection on which nothing is asked."""
        for connection in tuple(self._connections):
            if connection.idle_since() < math.inf:
                connection.leave()

    def make_room(self) -> bool:
        """Close the connection that has been idle longest, and for a sweep at least. False: there is none. They are
        looked for at most once a sweep, so that a flood of connections costs no more than itself."""
        if not self._idle and self._idle_at != self.now:
            self._idle_at = self.now
            idle = [(since, each) for each in self._connections if (since := each.idle_since()) < self.now]
            idle.sort(key=lambda found: found[0], reverse=True)
            self._idle = [each for _, each in idle]
        while self._idle:
            longest = self._idle.pop()
            if longest.idle_since() < self.now:
                longest.leave()
                return True
        return False

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = now = loop.time()
        HTTP_CONNECTIONS.set(len(self._connections))
        for connection in tuple(self._connections):
            try:
                connection.look(now)
            except Exception:
                # One connection must not end the watch over all others.
                log.exception("http.watch_failed")
                connection.leave()
        if self._refused:
            # One line a second at most, whatever comes in.
            log.warning("http.refused", **self._refused)
            self._refused.clear()
        self._idle.clear()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._connections else None
