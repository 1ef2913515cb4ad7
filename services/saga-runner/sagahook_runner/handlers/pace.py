"""How often the workers of a partition write (see `sagahook.runtime.rests`)."""

from __future__ import annotations

from sagahook.runtime.rests import Rests

MANY = 100
"""Records, or events, of one write that tell of a backlog."""


_QUICK = 0.02
_LONGEST = 0.1
"""Seconds."""


def rests() -> Rests:
    """A saga waits for several writes in a row: where the machine has time, none of them waits for the one before.
    Where it has none, half of the time goes into writes, which carry the more."""
    return Rests(1.0, longest=_LONGEST, quick=_QUICK)
