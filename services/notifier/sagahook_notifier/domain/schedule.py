"""Which endpoints a dispatcher looks at next, and how much of each: pure.

It knows for each endpoint when something may be due, and how many attempts are under way. Endpoints with the fewest
come first; none may have more than its share of all places, and the last of them are for those that have none under
way: neither a long queue nor a crowd of slow receivers takes them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush, nsmallest

_LAST = 4
"""The last quarter of the places is for endpoints that have none."""
_AT_ONCE = 256
"""Endpoints that are looked at together."""


@dataclass(slots=True)
class Schedule:
    """concurrency, per_endpoint: attempts under way at once, in all and to one endpoint."""

    concurrency: int
    per_endpoint: int
    sending: Counter[str] = field(default_factory=Counter)
    _due: dict[str, datetime] = field(default_factory=dict)
    """By endpoint; those that are ready are no longer here."""
    _ready: dict[str, None] = field(default_factory=dict)
    """Something may be due now; who waited longest comes first."""
    _later: list[tuple[datetime, str]] = field(default_factory=list)
    """A heap, with entries that no longer hold: those which `_due` does not confirm."""
    _under_way: int = 0

    @property
    def free(self) -> int:
        return self.concurrency - self._under_way

    @property
    def under_way(self) -> int:
        return self._under_way

    def tell(self, endpoint: str, at: datetime) -> None:
        """Something of the endpoint is due then, or was before."""
        if endpoint in self._ready or (endpoint in self._due and self._due[endpoint] <= at):
            return
        self._due[endpoint] = at
        heappush(self._later, (at, endpoint))

    def rooms(self, now: datetime) -> dict[str, int]:
        """What to look for: how many deliveries at most, by endpoint."""
        self._ripen(now)
        free, share, rooms = self.free, self._share(), {}
        for endpoint in nsmallest(_AT_ONCE, self._ready, key=self._load):
            room = self._room(endpoint, share, free)
            if room > 0:
                rooms[endpoint] = room
                free -= room
        return rooms

    def set_aside(self, wanted: Mapping[str, int], now: datetime) -> dict[str, int]:
        """Places for deliveries that are about to be made, so many are wanted by endpoint; they count as under way.
        There are none where something of the endpoint may be due: that has waited longer."""
        self._ripen(now)
        share, places = self._share(wanted), {}
        for endpoint in sorted(wanted.keys() - self._ready.keys(), key=self._load):
            room = min(wanted[endpoint], self._room(endpoint, share, self.free))
            if room > 0:
                places[endpoint] = room
                self.sending[endpoint] += room
                self._under_way += room
        return places

    def found(self, rooms: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
        """How many there were in these rooms. Returns the endpoints that had fewer: nothing more of them is due,
        and when it will be is to be known."""
        fewer = []
        for endpoint, room in rooms.items():
            self._ready.pop(endpoint, None)
            if counts.get(endpoint, 0) < room:
                fewer.append(endpoint)
            else:
                self._ready[endpoint] = None  # at the end
        return fewer

    def began(self, endpoint: str) -> None:
        self.sending[endpoint] += 1
        self._under_way += 1

    def ended(self, endpoint: str) -> bool:
        """Whether that made room for something that may be due."""
        was_full = self.free == 0
        self._under_way -= 1
        self.sending[endpoint] -= 1
        if not self.sending[endpoint]:
            del self.sending[endpoint]
        return endpoint in self._ready or (was_full and bool(self._ready))

    def next_at(self, now: datetime) -> datetime | None:
        """When there is something to look for, if only time goes by; None: not before something else happens."""
        self._ripen(now)
        if self.free == 0:
            return None
        share = self._share()
        if any(self._room(endpoint, share, self.free) > 0 for endpoint in self._ready):
            return now
        return self._later[0][0] if self._later else None

    def _ripen(self, now: datetime) -> None:
        while self._later and (self._later[0][0] <= now or self._is_stale(self._later[0])):
            entry = heappop(self._later)
            if not self._is_stale(entry):
                del self._due[entry[1]]
                self._ready[entry[1]] = None

    def _is_stale(self, entry: tuple[datetime, str]) -> bool:
        return self._due.get(entry[1]) != entry[0]

    def _share(self, more: Iterable[str] = ()) -> int:
        """The attempts that may be under way to one endpoint. more: endpoints with work that is not known yet."""
        busy = len(self.sending.keys() | self._ready.keys() | set(more))
        return min(self.per_endpoint, max(1, self.concurrency // (busy + 1)))

    def _room(self, endpoint: str, share: int, free: int) -> int:
        sending = self.sending[endpoint]
        beyond_the_last = free - self.concurrency // _LAST
        return min(share - sending, max(beyond_the_last, 0 if sending else min(free, 1)))

    def _load(self, endpoint: str) -> int:
        return self.sending[endpoint]
