"""Counts of what stands how, by the minute in which it began."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sagahook_tracker.domain.attempts import Attempt
from sagahook_tracker.domain.runs import FINAL, Run

Kind = Literal["webhook", "saga", "attempt"]

Place = tuple[datetime | None, Kind, str, str, str]
"""minute (None: not known), kind, source, type, outcome"""

Weight = tuple[Place, int]
"""where something counts, and its milliseconds"""

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True)
class Rollups:
    """What is added to each place: how many, and their milliseconds together. Something that changes is taken from one
    place and added to another, so that the sums are those of how everything stands now."""

    counts: Counter[Place] = field(default_factory=Counter)
    milliseconds: Counter[Place] = field(default_factory=Counter)

    def move(self, before: Weight | None, after: Weight | None) -> None:
        if before == after:
            return
        for weight, sign in ((before, -1), (after, 1)):
            if weight is not None:
                place, milliseconds = weight
                self.counts[place] += sign
                self.milliseconds[place] += sign * milliseconds


def run_weight(run: Run) -> Weight:
    minute = None if run.started_at is None else minute_of(run.started_at)
    taken = 0
    if run.state in FINAL and run.started_at is not None and run.finished_at is not None:
        taken = max(0, (run.finished_at - run.started_at) // _MILLISECOND)
    return (minute, "saga", run.source or "", run.name, run.state.lower()), taken


def attempt_weight(run: Run, attempt: Attempt) -> Weight | None:
    """By the minute in which it ended, each time that it did (a wait may be begun anew); None while it runs."""
    if attempt.completed_at is None:
        return None
    place: Place = (minute_of(attempt.completed_at), "attempt", run.source or "", run.name, attempt.status)
    return place, attempt.duration_ms or 0


def minute_of(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
