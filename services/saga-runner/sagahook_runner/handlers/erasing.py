"""Sagas whose data key was erased: what their owner holds of them goes too, and those that run are suspended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orjson import dumps, loads

from sagahook_runner.domain.commands import Park
from sagahook_runner.domain.erased import REASON, is_erased
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_runner.handlers.transaction import OwnerTransaction
from sagahook_schemas.erasable import SNAPSHOT, sealed

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys


class Erasing:
    """Of one owner: it looks at all that it holds when it begins, and whenever a key was erased."""

    def __init__(self, shard: Shard, keys: DataKeys) -> None:
        self._shard = shard
        self._keys = keys
        self._heeded = -1
        self._gone: deque[str] = deque()

    @property
    def has_work(self) -> bool:
        return self._heeded != self._keys.version or bool(self._gone)

    def take(self, transaction: OwnerTransaction) -> None:
        if self._heeded != self._keys.version:
            self._heeded = self._keys.version
            self._gone = deque(state.saga_id for state in self._shard.all() if self._is_to_go(state))
        while self._gone and transaction.is_open:
            state = self._shard.state(self._gone.popleft())
            if self._is_to_go(state):
                self._shard.erase(_without_payload(state))
                if state.status in FINAL:
                    transaction.snapshot(self._shard.state(state.saga_id))
                else:
                    transaction.apply(state.saga_id, Park(REASON, "erased"))

    def _is_to_go(self, state: SagaState) -> bool:
        key = state.erasure_key
        if key is None or not self._keys.is_gone(key):
            return False
        return not is_erased(state) or not (state.status in FINAL or state.cause == "erased")


def _without_payload(state: SagaState) -> SagaState:
    return SagaState.from_json(dumps(sealed(loads(state.to_json()), SNAPSHOT, None)))
