"""How often the workers of a partition write (see `sagahook.runtime.rests`)."""

from __future__ import annotations

from sagahook.runtime.rests import Rests

MANY = 100
"""Records, or events, of one write that tell of a backlog."""


def rests() -> Rests:
    """At most half of the time goes into writes. A saga alone does not wait, each of whose quick steps asks for one."""
    return Rests(1.0, credit=0.02)
