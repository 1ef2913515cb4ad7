"""Token buckets: how often a client may send, and what it is told when it sends more often than that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import ceil

from sagahook.runtime.sources import RateLimit

_ROUNDING = 1e-9
"""Seconds: a token that is there at this very moment is taken, whatever the sums of floats make of it."""


class TooMany(Exception):
    """Wait as many seconds as `Retry-After` in the headers says, and send more slowly from then on: 429.

    headers: beside that `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11, Structured
    Fields of RFC 9651. In the first, `r` are the requests that are left, `t` the seconds until there is one more; in
    the second, `q` are as many as fit in `w` seconds.
    """

    def __init__(self, policy: str, whose: str, rate: RateLimit, seconds: float) -> None:
        wait = max(1, ceil(seconds))
        self.error = f"More than {_spoken(rate)} came {whose}: wait {wait} s, then send more slowly"
        super().__init__(self.error)
        window = max(1, ceil(rate.burst / rate.per_second))
        self.headers = {
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"{policy}";q={rate.burst};w={window}',
            "RateLimit": f'"{policy}";r=0;t={wait}',
        }


class Buckets:
    """One bucket for each key, each as full as time made it.

    Of every bucket only the moment is kept when it is full again (the generic cell rate algorithm). limit: the most
    that are remembered; the one that was not asked for longest is forgotten first, which makes it a full one. So an
    attacker with more addresses than that gains nothing that the addresses would not have given it anyway.

    policy: the name of the quota in the headers; a client knows its own by it, whatever the numbers in it are.
    whose: how the requests of one bucket came, in words: `from this client`.
    """

    def __init__(self, policy: str, whose: str, *, limit: int = 50_000) -> None:
        self._policy = policy
        self._whose = whose
        self._limit = limit
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, rate: RateLimit, now: float) -> None:
        """Take one token. now: seconds of any clock that never goes back. Raises TooMany; that costs no token."""
        if rate.unlimited:
            return
        known = self._full_at.get(key, now)
        full_at = max(known, now) + 1 / rate.per_second
        wait = full_at - now - rate.burst / rate.per_second
        refused = wait > _ROUNDING
        self._full_at[key] = known if refused else full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._limit:
            self._full_at.popitem(last=False)
        if refused:
            raise TooMany(self._policy, self._whose, rate, wait)


def _spoken(rate: RateLimit) -> str:
    if rate.per_second >= 1:
        return f"{rate.per_second:g} requests a second (and {rate.burst} at once)"
    return f"{rate.per_second * 60:g} requests a minute (and {rate.burst} at once)"
