"""What ended first, among more than should lie in a heap."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from heapq import heappop, heappush

_SLOT_BITS = 16
"""Ends are put in order by slots of 2**16 ms, about a minute."""


class EndOrder:
    """Ids, of 16 bytes, by the time at which their sagas ended.

    Only the slot that is being emptied is sorted; the others are ids in a row, 16 bytes each. An id that was
    put again, or forgotten, is left where it was and passed over when its turn comes.
    """

    def __init__(self) -> None:
        self._slots: dict[int, bytearray] = {}
        self._numbers: list[int] = []  # a heap of the slots' numbers
        self._oldest: list[tuple[int, bytes]] = []  # (-end, id), the oldest last
        self._oldest_below = -(1 << 63)  # what ended before this belongs there

    def add(self, key: bytes, ended_ms: int) -> None:
        if ended_ms < self._oldest_below:
            insort(self._oldest, (-ended_ms, key))
            return
        number = ended_ms >> _SLOT_BITS
        slot = self._slots.get(number)
        if slot is None:
            self._slots[number] = bytearray(key)
            heappush(self._numbers, number)
        else:
            slot += key

    def pop(self, before_ms: int, ended_of: Callable[[bytes], int | None]) -> bytes | None:
        """The id of the one that ended first; None where none ended before that time. ended_of: when it ended by
        what is remembered now, None where it is not remembered."""
        while True:
            while self._oldest:
                ended_ms, key = -self._oldest[-1][0], self._oldest[-1][1]
                if ended_ms >= before_ms:
                    return None
                self._oldest.pop()
                if ended_of(key) == ended_ms:
                    return key
            if not self._numbers or self._numbers[0] << _SLOT_BITS >= before_ms:
                return None
            self._open(heappop(self._numbers), ended_of)

    def _open(self, number: int, ended_of: Callable[[bytes], int | None]) -> None:
        slot = self._slots.pop(number)
        keys = {bytes(slot[at : at + 16]) for at in range(0, len(slot), 16)}
        ends = ((ended_of(key), key) for key in keys)
        self._oldest = sorted(
            (-ended, key) for ended, key in ends if ended is not None and ended >> _SLOT_BITS == number
        )
        self._oldest_below = (number + 1) << _SLOT_BITS
