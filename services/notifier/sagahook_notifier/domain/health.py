"""How an endpoint is doing: its circuit, and how long nothing has reached it. Pure; shared by all dispatchers through
the database.

An endpoint that keeps failing is left alone for a while, then asked by one attempt alone (`probe`), so that a receiver
that is down costs neither itself nor us an attempt for each of its deliveries, and one that comes back is not met
by all of them at once. Deliveries that wait for it use up none of their attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

LONGEST_OPEN = timedelta(minutes=5)
"""A circuit's open time is doubled with each probe that fails, up to this; nor does a receiver's `Retry-After` keep its
endpoint's other deliveries waiting for longer."""

Sign = Literal["accepted", "refused", "sick", "silent"]
"""What an attempt says of the endpoint. accepted: success. refused: it is up, and does not want this one. sick: it
could not be reached or failed. silent: nothing, because we did not get so far."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """failures: so many sick attempts one after the other open the circuit. They are more than one delivery makes under
    any named policy, so that a single one always gets its attempts when they are due. open_for: how long at first."""

    failures: int = 10
    open_for: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Health:
    """failures: sick attempts one after the other. openings: how often the circuit opened since an answer.
    open_until: set while it is open; from then on one probe is let through at a time. failing_since: the first
    attempt after the last success that was none; error: what the last of them said."""

    failures: int = 0
    openings: int = 0
    open_until: datetime | None = None
    failing_since: datetime | None = None
    error: str | None = None

    def has_failed_for(self, limit: timedelta, now: datetime) -> bool:
        return self.failing_since is not None and now - self.failing_since >= limit


HEALTHY = Health()


def settle(
    health: Health,
    sign: Sign,
    at: datetime,
    *,
    breaker: Breaker,
    probe: bool,
    error: str | None = None,
    asked: timedelta | None = None,
) -> Health:
    """After an attempt that ended at `at`. probe: it was let through by an open circuit. asked: the receiver wants
    to be left alone for so long."""
    if sign == "accepted":
        return HEALTHY
    if sign == "silent":
        # Had it been the probe, the next attempt may be.
        return replace(health, open_until=at) if probe else health
    failed = replace(health, failing_since=health.failing_since or at, error=error)
    if sign == "refused":
        answered = replace(failed, failures=0, openings=0, open_until=None)
        return answered if asked is None else _opened(answered, at, asked)
    failed = replace(failed, failures=health.failures + 1)
    if health.open_until is not None and not probe:
        return failed  # it was under way when the circuit opened
    if probe or failed.failures >= breaker.failures or asked is not None:
        waits = breaker.open_for * 2 ** min(failed.openings, 8)
        return _opened(failed, at, waits if asked is None else asked)
    return failed


def _opened(health: Health, at: datetime, waits: timedelta) -> Health:
    return replace(health, openings=health.openings + 1, open_until=at + min(waits, LONGEST_OPEN))
