"""Drawn identities: the ones that must differ every time (sagahook_schemas.identity has the derived)."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

_TAILS = [b"%02x" % number for number in range(256)] * 2
"""Two hexadecimal digits, so that the 256 from any of them on are all of them."""

_DRAWS = 256
_BYTES = 10
"""Random bytes of an id, a few bits of which give way to its version and its variant."""
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _drawn() -> str:
    """What follows an id's time. The system is asked for many at once: each call of it takes longer than all the
    rest."""
    global _draws  # noqa: PLW0603  # swapped as a whole, so that two threads never get the same
    found = next(_draws, None)
    if found is None:
        _draws = iter(_ends_of_ids(os.urandom(_BYTES * _DRAWS).hex()))
        return _drawn()
    return found


def _ends_of_ids(digits: str) -> list[str]:
    """Version 7 and the variant of RFC 9562 in their places. digits: hexadecimal, `_BYTES` for each."""
    drawn = [digits[at : at + 2 * _BYTES] for at in range(0, len(digits), 2 * _BYTES)]
    return [f"-7{d[1:4]}-{_VARIANTS[d[4]]}{d[5:8]}-{d[8:]}" for d in drawn]


def _forget() -> None:
    global _draws  # noqa: PLW0603  # a forked process must not draw what its parent draws
    _draws = iter(())


_draws: Iterator[str] = iter(())
os.register_at_fork(after_in_child=_forget)


def new_event_id() -> str:
    """A UUIDv7 (RFC 9562): unique for each POST, and ordered by time, which keeps index pages warm."""
    return _time_of_ids(time.time_ns() // 1_000_000) + _drawn()


_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


def drawn_at(drawn: str) -> float | None:
    """When the id was drawn, in seconds since 1970; None where it is none of these."""
    found = _UUID7.fullmatch(drawn)
    return int(found[1] + found[2], 16) / 1000 if found else None


@lru_cache(maxsize=1)  # several are drawn within one
def _time_of_ids(milliseconds: int) -> str:
    """The two first groups. milliseconds: since 1970."""
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def event_id_in(partition: int, partitions: int) -> str:
    """An event id whose record belongs in the partition, by the rule of `identity.partition_of`.

    For a writer that gathers records: it chooses where they go together, and draws the ids to fit.
    """
    while True:
        drawn = new_event_id()
        # CRC-32 goes on from where it was, so that only the last two digits, random anyway, are tried anew.
        head = zlib.crc32(drawn[:-2].encode())
        for tail in islice(_TAILS, int(drawn[-2:], 16), None):
            if zlib.crc32(tail, head) % partitions == partition:
                return drawn[:-2] + tail.decode()
