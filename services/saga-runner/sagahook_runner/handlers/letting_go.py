"""Lets go of what was held when its pause ends."""

from __future__ import annotations

from collections import deque

from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.shard import Shard
from sagahook_runner.handlers.transaction import OwnerTransaction

_AT_ONCE = 500
"""Sagas in one transaction, at most."""


class LettingGo:
    """Of one owner: it looks at all that is held when it begins, and whenever a control has changed."""

    def __init__(self, shard: Shard, controls: Controls) -> None:
        self._shard = shard
        self._controls = controls
        self._heeded = -1
        self._free: deque[str] = deque()

    def has_work(self, *, has_room: bool) -> bool:
        """has_room: for more to run."""
        return self._heeded != self._controls.version or (has_room and bool(self._free))

    def take(self, transaction: OwnerTransaction, *, has_room: bool) -> None:
        """Those that started first go first."""
        if self._heeded != self._controls.version:
            self._heeded = self._controls.version
            self._free = deque(each for each in self._shard.held.in_order() if self._is_free(each))
        for _ in range(_AT_ONCE if has_room else 0):
            if not self._free or not transaction.is_open:
                return
            saga_id = self._free.popleft()
            state = self._shard.state(saga_id)
            transaction.apply(saga_id, self._controls.ended_by(state.name, state.source))

    def _is_free(self, saga_id: str) -> bool:
        state = self._shard.state(saga_id)
        return not self._controls.holds(state.name, state.source)
