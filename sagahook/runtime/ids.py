"""Drawn identities: the ones that must differ every time (sagahook_schemas.identity has the derived)."""

from __future__ import annotations

import os
import time
import zlib

_TAILS = [b"%02x" % number for number in range(256)] * 2
"""Two hexadecimal digits, so that the 256 from any of them on are all of them."""


def new_event_id() -> str:
    """A UUIDv7 (RFC 9562): unique for each POST, and ordered by time, which keeps index pages warm."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
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
        start = int(drawn[-2:], 16)
        for tail in _TAILS[start : start + 256]:
            if zlib.crc32(tail, head) % partitions == partition:
                return drawn[:-2] + tail.decode()
