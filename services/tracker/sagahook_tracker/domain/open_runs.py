"""The runs that a projector goes on with in its next batch, so that it need not read them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from sagahook_tracker.domain.changes import Event
from sagahook_tracker.domain.runs import FINAL, Run, RunKey

_MOST = 2_000
"""Runs that are remembered: those that changed last."""


class OpenRuns:
    """Those of the partitions that a projector has, as the views have them. Who takes one changes it: it is remembered
    again only when that is stored. Where somebody else may have written since, or other views, forget them all."""

    def __init__(self) -> None:
        self._runs: dict[RunKey, Run] = {}

    def take(self, events: Iterable[Event]) -> tuple[dict[RunKey, Run], Mapping[RunKey, int]]:
        """The runs of the events that are remembered; and of the others the sequence at which the events begin."""
        taken: dict[RunKey, Run] = {}
        missing: dict[RunKey, int] = {}
        for event in events:
            key = event.run
            if key is None or key in taken or key in missing:
                continue
            run = self._runs.pop(key, None)
            if run is None:
                missing[key] = event.envelope.sequence
            else:
                taken[key] = run
        return taken, missing

    def keep(self, runs: Iterable[Run]) -> None:
        """Without what does not change and is stored: a run that has ended seldom goes on."""
        for run in runs:
            if run.state not in FINAL:
                run.context = run.result = None
                self._runs[run.key] = run
        for key in tuple(islice(self._runs, max(0, len(self._runs) - _MOST))):
            del self._runs[key]

    def forget(self) -> None:
        self._runs.clear()
