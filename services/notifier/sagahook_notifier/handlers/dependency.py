"""Waiting for what is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.health import Status
from sagahook.runtime.logging import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""Seconds between tries: doubled each time, up to the second."""


class Dependency:
    """Something that other calls of the process need too, by the name that logs give it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_away = False

    async def reach(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's answer, however long it takes: it is made again, more and more slowly, while it raises
        Unavailable."""
        delay = _FIRST_DELAY
        while True:
            try:
                answer = await call()
            except Unavailable as away:
                if not self._is_away:
                    log.warning("dependency.away", dependency=self._name, error=str(away))
                self._is_away = True
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
            else:
                if self._is_away:
                    log.info("dependency.back", dependency=self._name)
                self._is_away = False
                return answer

    async def check(self) -> Status:
        return "degraded" if self._is_away else "healthy"
