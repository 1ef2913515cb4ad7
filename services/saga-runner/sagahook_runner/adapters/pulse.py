"""What a running action says of itself while it runs: that it lives, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PROGRESS_SECONDS = 1.0
"""Between two tellings of one attempt's progress; what comes faster is passed over, but for the end."""


class Pulse:
    """Between an action's context and the executor. Its methods may be called from any thread, at any time."""

    __slots__ = ("_loop", "_on_beat", "_on_progress", "_told_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._on_beat: Callable[[], None] | None = None
        self._on_progress: Callable[[float, str], None] | None = None
        self._told_at = float("-inf")

    def listen(self, on_beat: Callable[[], None] | None, on_progress: Callable[[float, str], None]) -> None:
        """The attempt begins. Both are called in the loop; on_beat None: nobody counts signs of life."""
        self._on_beat, self._on_progress = on_beat, on_progress

    def end(self) -> None:
        """What is said from now on is of no attempt any more."""
        self._on_beat = self._on_progress = None

    def beat(self) -> None:
        if self._on_beat is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._beat)

    def progress(self, fraction: float, message: str) -> None:
        now = self._loop.time()
        if self._on_progress is None or self._loop.is_closed():
            return
        if fraction >= 1 or now - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = now
            # Also where the attempt ends meanwhile: it was said before that.
            self._loop.call_soon_threadsafe(self._on_progress, fraction, message)

    def _beat(self) -> None:
        if self._on_beat is not None:
            self._on_beat()
