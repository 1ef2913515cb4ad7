"""Where a reader stands, so that it can go on from there: in a list, and in the log of all sagas."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from orjson import JSONDecodeError, dumps, loads

_NO_TIME = "-infinity"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the time of its last row as PostgreSQL writes it, and that row's number."""

    time: str
    number: int

    def cursor(self) -> str:
        return urlsafe_b64encode(dumps([self.time, self.number])).decode()

    @classmethod
    def from_cursor(cls, cursor: str) -> Position | None:
        """None where it is none of ours."""
        with suppress(NotBase64, JSONDecodeError, UnicodeError, ValueError, TypeError):
            time, number = loads(urlsafe_b64decode(cursor))
            if time != _NO_TIME:
                datetime.fromisoformat(time)
            if isinstance(number, int) and 0 <= number < 2**63:
                return cls(time, number)
        return None


Places = Mapping[int, int]
"""How much of `saga.events` somebody has seen: the next offset of each partition. A partition that is not there was
not seen at all."""

_PLACES = re.compile(r"\d{1,5}:\d{1,15}(?:,\d{1,5}:\d{1,15})*\Z", re.ASCII)


def written(places: Places) -> str:
    """As an event id of the stream: `0:1042,1:977`. Each partition's events become visible in its own order, whatever
    the projector is doing: so this misses none and repeats none, which a time could not."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(places.items()))


def read_places(text: str) -> dict[int, int] | None:
    """None where `text` is not what `written` gave."""
    if text == "":
        return {}
    if _PLACES.match(text) is None:
        return None
    pairs = (pair.split(":") for pair in text.split(","))
    return {int(partition): int(offset) for partition, offset in pairs}
