"""Drawn identities: the ones that must differ every time (sagahook_schemas.identity has the derived)."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from itertools import islice

_TAILS = [b"%02x" % number for number in range(256)] * 2
"""Two hexadecimal digits, so that the 256 from any of them on are all of them."""


def _drawn() -> bytes:
    """Ten random bytes. The system is asked for many at once: each call of it takes longer than all the rest."""
    global _draws  # noqa: PLW0603  # swapped as a whole, so that two threads never get the same
    found = next(_draws, None)
    if found is None:
        fresh = os.urandom(10 * _DRAWS)
        _draws = iter([fresh[at : at + 10] for at in range(0, len(fresh), 10)])
        return _drawn()
    return found


def _forget() -> None:
    global _draws  # noqa: PLW0603  # a forked process must not draw what its parent draws
    _draws = iter(())


_DRAWS = 256
_draws: Iterator[bytes] = iter(())
os.register_at_fork(after_in_child=_forget)


def new_event_id() -> str:
    """A UUIDv7 (RFC 9562): unique for each POST, and ordered by time, which keeps index pages warm."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(_drawn(), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"  # as str(UUID(int=value)), which takes twice as long
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


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
