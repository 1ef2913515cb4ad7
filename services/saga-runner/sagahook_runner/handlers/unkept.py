"""What of a partition's saga log the snapshots do not tell yet, and when they are to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

_LONGEST = timedelta(seconds=5)
_MOST_EVENTS = 20_000
"""What the next owner may have to fold, some 50 µs each, before it takes the partition over."""


class Unkept:
    """begin: the offset in the log before which the snapshots tell everything. end: behind the last transaction."""

    def __init__(self, begin: int, sagas: Iterable[str]) -> None:
        self.begin = begin
        self.end = begin
        self._sagas = dict.fromkeys(sagas)
        self._events = 0
        self._since: datetime | None = None

    def committed(self, sagas: Iterable[str], events: int, end: int | None, now: datetime) -> None:
        """A transaction that changed the sagas. end: the offset behind its last event; None: it had none."""
        self._sagas.update(dict.fromkeys(sagas))
        self._events += events
        if end is not None:
            self.end = max(self.end, end)
        if self._since is None and self._sagas:
            self._since = now

    def due_at(self, now: datetime) -> datetime | None:
        """When the snapshots are to be written; None while there is nothing to write."""
        if self._since is None:
            return None
        return now if self._events >= _MOST_EVENTS else self._since + _LONGEST

    def take(self) -> tuple[str, ...]:
        """The sagas whose snapshots are to be written now; once they are, the log need only be read from `end`."""
        sagas = tuple(self._sagas)
        self._sagas.clear()
        self._events = 0
        self._since = None
        self.begin = self.end
        return sagas
