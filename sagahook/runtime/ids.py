"""Drawn identities: the ones that must differ every time (sagahook_schemas.identity has the derived)."""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_event_id() -> str:
    """A UUIDv7 (RFC 9562): unique for each POST, and ordered by time, which keeps index pages warm."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(UUID(int=value))
