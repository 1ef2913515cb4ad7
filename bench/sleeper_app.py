"""A saga that sleeps, for `bench.timers`."""

from __future__ import annotations

from sagahook.saga import Saga, sleep


class Sleeper(Saga):
    nap = sleep(seconds=60)
