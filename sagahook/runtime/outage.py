"""What a loop waits for that goes on by itself once it is back, said once for each time that it is away."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

SILENCE_LIMIT = 10.0
"""Seconds without a word from Kafka after which the service calls itself degraded."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""Seconds between tries while a dependency is away: doubled each time, up to the second."""


class Outage:
    """Of one group's consumer."""

    def __init__(self, group: str, bootstrap: str) -> None:
        self._group = group
        self._bootstrap = bootstrap
        self._heard = time.monotonic()
        self._delay = _FIRST_DELAY
        self._waits_for: str | None = None

    @property
    def is_on(self) -> bool:
        return self._waits_for is not None

    def heard(self) -> None:
        """Kafka has answered."""
        self._heard = time.monotonic()

    async def wait(self, stopping: asyncio.Event, reason: str) -> None:
        """Before another try. reason: what is away."""
        self._say(reason)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), self._delay)
        self._delay = min(self._delay * 2, _LONGEST_DELAY)

    def tell(self, *, is_reading: bool) -> None:
        """How it goes where nothing failed. aiokafka reconnects by itself and says nothing to its caller; only the
        silence tells."""
        if time.monotonic() - self._heard > SILENCE_LIMIT:
            self._say(f"Kafka at {self._bootstrap} has not answered for {SILENCE_LIMIT:.0f} seconds")
        elif self._waits_for is not None and is_reading:
            log.info("batches.recovered", group=self._group, waited_for=self._waits_for)
            self._waits_for = None
            self._delay = _FIRST_DELAY

    def _say(self, reason: str) -> None:
        if self._waits_for is None:
            log.warning("batches.waiting", group=self._group, reason=reason)
        self._waits_for = reason
