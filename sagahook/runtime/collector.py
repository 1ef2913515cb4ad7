"""Python's cycle collector, in a process that keeps what it has and frees what comes by reference counts."""

from __future__ import annotations

import gc


def calm_the_collector() -> None:
    """What is there now stays for good, and what comes is freed by its reference counts: left as it is, the
    cycle collector takes half of the runner's time (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
