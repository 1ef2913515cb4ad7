"""Starts that a router hands to an owner of its own process, past `saga.commands` (docs/decisions/0039).

The log is the way between processes. Within one, a start needs no record to be read again: it counts once its owner has
written what it leads to, and until then its router has not said that the webhook was routed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sagahook.runtime.transactions import OutRecord
from sagahook_schemas.codec import Undecodable


@dataclass(slots=True)
class _Lot:
    """What one router handed over at once. left: how many of them are not written."""

    left: int
    written: asyncio.Future[bool]


class Handed:
    """What one owner was handed and has not written yet. wake: called when there is something to do. is_open: whether
    it takes any more."""

    def __init__(self, wake: Callable[[], None], is_open: Callable[[], bool]) -> None:
        self._wake = wake
        self._is_open = is_open
        self._waiting: deque[tuple[OutRecord, _Lot]] = deque()
        self._taken: list[_Lot] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, starts: Sequence[OutRecord]) -> asyncio.Future[bool] | None:
        """Whether all of them were written, once that is known; None: they go by the log."""
        if not self._is_open():
            return None
        lot = _Lot(len(starts), asyncio.get_running_loop().create_future())
        self._waiting.extend((start, lot) for start in starts)
        self._wake()
        return lot.written

    def take(self, apply: Callable[[OutRecord], None]) -> None:
        """The one that waited longest. What cannot be read goes by the log, and to the dead letters from there."""
        start, lot = self._waiting.popleft()
        try:
            apply(start)
        except Undecodable:
            _tell(lot, False)
        else:
            self._taken.append(lot)

    def written(self) -> None:
        """All that was taken."""
        for lot in self._taken:
            lot.left -= 1
            if not lot.left:
                _tell(lot, True)
        self._taken.clear()

    def refuse_waiting(self) -> None:
        """It is not going to be written here, unless some of it was taken with what is being written now."""
        for _, lot in self._waiting:
            _tell(lot, False)
        self._waiting.clear()

    def refuse(self) -> None:
        """Nothing more is written here; what was taken may have been, or not."""
        self.refuse_waiting()
        for lot in self._taken:
            _tell(lot, False)
        self._taken.clear()


def _tell(lot: _Lot, written: bool) -> None:
    if not lot.written.done():  # its router may have gone
        lot.written.set_result(written)


class Handing:
    """The owners of one process, by their partitions."""

    def __init__(self) -> None:
        self._owners: dict[int, Handed] = {}

    def begin(self, partition: int, handed: Handed) -> None:
        if (before := self._owners.get(partition)) is not None and before is not handed:
            before.refuse()
        self._owners[partition] = handed

    def end(self, partition: int, handed: Handed) -> None:
        """Unless another owner has begun meanwhile."""
        if self._owners.get(partition) is handed:
            del self._owners[partition]
        handed.refuse()

    async def over(self, starts: Sequence[OutRecord]) -> list[OutRecord]:
        """Those that have to go by the log: no owner is here, or it has not written them. All others are written."""
        lots: defaultdict[int, list[OutRecord]] = defaultdict(list)
        for start in starts:
            lots[start.partition].append(start)
        left: list[OutRecord] = []
        waiting: list[tuple[list[OutRecord], asyncio.Future[bool]]] = []
        for partition, lot in lots.items():
            handed = self._owners.get(partition)
            answer = handed.put(lot) if handed is not None else None
            if answer is None:
                left += lot
            else:
                waiting.append((lot, answer))
        for lot, answer in waiting:
            if not await answer:
                left += lot
        return left
