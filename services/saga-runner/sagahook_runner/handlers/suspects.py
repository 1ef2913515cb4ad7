"""Steps during which the runner died as often as it may but once: the next time suspends their sagas.

Whatever ran beside an action that kills its process is lost with it each time, and would be suspended with it too. So
the last attempt that such a step gets begins while no other one of them has just begun in this process: a crash then
tells the one to blame from those that were only near it.
"""

from __future__ import annotations

from sagahook_runner.domain.attempts import MAX_LOSSES
from sagahook_runner.domain.commands import StepDue
from sagahook_runner.domain.state import SagaState
from sagahook_runner.domain.timers import Timer

_ALONE_SECONDS = 5.0
"""How long one that has begun keeps the others waiting: what kills its process mostly does so at once, and steps that
take long must not wait for each other's ends."""

_COMMIT_SECONDS = 20.0
"""A turn that was taken, and by then not used, because its transaction was lost, is void."""

Suspect = tuple[str, str]
"""saga id, step"""


class Suspects:
    """Whose turn it is, for all partitions of a process. now: any clock's seconds that never go back."""

    def __init__(self) -> None:
        self._turn: Suspect | None = None
        self._until = 0.0

    def may_begin(self, suspect: Suspect, now: float) -> bool:
        """Takes the turn where it is free."""
        if self._turn is not None and self._turn != suspect and now < self._until:
            return False
        self._turn, self._until = suspect, now + _COMMIT_SECONDS
        return True

    def began(self, suspect: Suspect, now: float) -> None:
        if suspect == self._turn:
            self._until = now + _ALONE_SECONDS

    def ended(self, suspect: Suspect) -> None:
        if suspect == self._turn:
            self._turn = None


def suspect_of(state: SagaState, timer: Timer) -> Suspect | None:
    """Whose last attempt the timer lets begin; None where it does not."""
    opened = state.open.get(timer.step) if isinstance(timer, StepDue) else None
    if opened is None or opened.standing != "waiting" or opened.losses < MAX_LOSSES - 1:
        return None
    return state.saga_id, opened.step
