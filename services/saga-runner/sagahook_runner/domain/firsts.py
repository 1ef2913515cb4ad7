"""Which record of a webhook came first, where two replicas of ingest took it in the same instant.

Each replica answers a duplicate that it knows of itself. What it cannot know of is what another took in the
milliseconds before; both are then in the log, in one partition, where one reader sees which was first.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import NamedTuple

from sagahook_schemas.envelope import Envelope

_Key = tuple[str, str, str]
"""The source, which kind of key, and its hash or the delivery id."""


class Verdict(NamedTuple):
    """first: the event that this one repeats, "" where it is the first. refused: why it cannot be run, else ""."""

    first: str = ""
    refused: str = ""


class _Known(NamedTuple):
    event_id: str
    body_hash: str
    time: datetime
    offset: int


class FirstRecords:
    """Of one partition, in memory, and so empty after a take-over: of two records that lie around one, the second is
    taken for a first.

    within: what comes later than that was answered by ingest as it should be, and is new. limit: keys.
    """

    def __init__(self, *, within: timedelta = timedelta(seconds=30), limit: int = 10_000) -> None:
        self._within = within
        self._limit = limit
        self._known: OrderedDict[_Key, _Known] = OrderedDict()

    def judge(self, offset: int, received: Envelope) -> Verdict:
        """Of each record in the order of offsets; the same again where records are read again."""
        first = ""
        for key, body_hash in _keys(received):
            known = self._known.get(key)
            if known is None or abs(received.time - known.time) > self._within:
                self._remember(key, _Known(first or received.id, body_hash, received.time, offset))
            elif offset > known.offset:
                if body_hash != known.body_hash:
                    return Verdict(
                        refused="its Idempotency-Key was used with another body a moment before, for the event "
                        f"{known.event_id}, which another replica of ingest took"
                    )
                first = first or known.event_id
        return Verdict(first)

    def _remember(self, key: _Key, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


def _keys(received: Envelope) -> list[tuple[_Key, str]]:
    """Each with the hash of the body that belongs to it; a delivery id has none."""
    found = dict(received.extensions)
    source = found.get("webhooksource", "")
    keys = []
    if hashed := found.get("idempotencykeyhash"):
        keys.append(((source, "key", hashed), found.get("bodyhash", "")))
    if delivery_id := found.get("deliveryid"):
        keys.append(((source, "delivery", delivery_id), ""))
    return keys
