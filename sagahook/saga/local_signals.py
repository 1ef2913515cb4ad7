"""Signals of a saga in one process: the first step that waits for one takes it; one that nobody waits for
yet is kept."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque

from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition


class Signals:
    def __init__(self) -> None:
        self._kept: defaultdict[str, deque[JsonValue]] = defaultdict(deque)
        self._waiting: defaultdict[str, deque[asyncio.Future[JsonValue]]] = defaultdict(deque)

    def tell(self, name: str, payload: JsonValue) -> None:
        waiting = self._waiting[name]
        while waiting:
            listener = waiting.popleft()
            if not listener.done():  # else it gave up
                listener.set_result(payload)
                return
        self._kept[name].append(payload)

    async def taken(self, step: StepDefinition) -> JsonValue:
        """The payload that the step waits for. Raises TimeoutError, unless the step is to go on without it:
        then None."""
        name = step.signal or step.name
        if self._kept[name]:
            return self._kept[name].popleft()
        listener: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self._waiting[name].append(listener)
        try:
            async with asyncio.timeout(step.patience):
                return await listener
        except TimeoutError:
            if step.on_timeout == "continue":
                return None
            raise TimeoutError(f"no signal {name!r} within {step.patience:g} s") from None
