"""What was answered under each Idempotency-Key and delivery id: a bounded view of `webhooks.received`."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from sagahook_ingest.domain.webhook import Key


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """body_hash: b"" for a delivery id. position: the record's offset; the records of one key share a partition, but
    for delivery ids that came with differing Idempotency-Keys: of those, too, all replicas choose the same."""

    event_id: str
    correlation_id: str
    body_hash: bytes
    time: datetime
    position: int


class FirstAnswers:
    """The first record under each key within `window`, and of those the newest `limit`.

    An answer enters when the log holds its record, never before.
    """

    def __init__(self, *, window: timedelta, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._answers: OrderedDict[Key, FirstAnswer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: Key, now: datetime) -> FirstAnswer | None:
        found = self._answers.get(key)
        return found if found is not None and found.time > now - self._window else None

    def record(self, key: Key, answer: FirstAnswer) -> None:
        """Where two replicas took the same key at the same time, the earlier record wins on both."""
        known = self._answers.get(key)
        if known is None or known.time <= answer.time - self._window:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            self._forget(answer.time)
        elif answer.position < known.position:
            self._answers[key] = answer

    def _forget(self, now: datetime) -> None:
        while len(self._answers) > self._limit:
            self._answers.popitem(last=False)
        while self._answers:
            oldest = next(iter(self._answers.values()))
            if oldest.time > now - self._window:
                return
            self._answers.popitem(last=False)
