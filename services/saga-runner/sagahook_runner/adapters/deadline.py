"""The time of one attempt."""

from __future__ import annotations

import asyncio


class Deadline:
    """Cancels the running task, which belongs to the attempt alone, when its time has come.

    As `asyncio.timeout`, in a third of its time: an attempt that does next to nothing costs little more than this.
    """

    __slots__ = ("_handle", "_loop", "_task", "passed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the task."""
        self._loop = loop
        self._task = asyncio.current_task()
        self._handle: asyncio.TimerHandle | None = None
        self.passed = False

    def set(self, at: float) -> None:
        """at: in the loop's time; instead of what was set before. Too late once it has passed."""
        if self.passed:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self._come)

    def end(self) -> None:
        """The attempt is over."""
        if self._handle is not None:
            self._handle.cancel()

    @property
    def was_cancelled_by_others(self) -> bool:
        return self._task is not None and self._task.cancelling() > self.passed

    def _come(self) -> None:
        self.passed = True
        if self._task is not None:
            self._task.cancel()
