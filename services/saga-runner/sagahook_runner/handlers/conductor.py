"""The functions of code-first sagas that are played in this process.

A function is played again from its beginning by whoever owns the saga next, or when something is to be called that
only it knows: it holds the actions and compensations. One that only waits for long is let rest, and costs nothing but
its log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sagahook.saga import Saga, SagaApp
from sagahook.saga.code import CodeSaga
from sagahook_runner.domain.commands import Command
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_runner.handlers.playing import Conductor
from sagahook_schemas.sagas import SagaMigrated, SagaResumed
from sagahook_schemas.steps import StepCompleted

Say = Callable[[int, str, Command], None]
"""partition, saga id, command"""

REST_SECONDS = 10.0
"""A function that hears nothing for so long is let rest. Longer than what one may await by itself beside a sleep."""

_OVERDUE_LOOKS = 3
"""So many times in a row a function was seen not to make a request that its log remembers: it has changed."""

_CATCHING_UP = 500
"""Functions at once that are only played to see whether they have something to ask."""

_GLANCE_SECONDS = 3.0
"""How long each of them may take for it."""


@dataclass(slots=True)
class _Played:
    partition: int
    conductor: Conductor
    heard: bool = True
    overdue: int = 0


class Conductors:
    """By saga. say: to the saga's owner. rest: seconds."""

    def __init__(self, app: SagaApp, say: Say, rest: float = REST_SECONDS) -> None:
        self._app = app
        self._say = say
        self._rest = rest
        self._playing: dict[str, _Played] = {}
        self._catching_up: set[str] = set()

    def follow(self, partition: int, entries: Iterable[Entry]) -> None:
        """What was committed of code-first sagas, in order."""
        for entry in entries:
            played = self._playing.get(entry.saga_id)
            # Other code may play it now.
            afresh = isinstance(entry.event, SagaResumed | SagaMigrated)
            if played is not None and (played.conductor.run != entry.run or afresh):
                self._stop(entry.saga_id)
                played = None
            if played is not None:
                played.heard = True
                played.conductor.hear(entry)
            elif afresh or isinstance(entry.event, StepCompleted) or not entry.state.open:
                self.go_on(partition, entry.state)
            if entry.state.status in FINAL and played is not None:
                del self._playing[entry.saga_id]
                played.conductor.bid_farewell()

    def go_on(self, partition: int, state: SagaState) -> None:
        """Play the function where it is its turn; while all that it asked for is under way it may wait unplayed."""
        if state.status == "EXECUTING" and not state.failing:
            self.conductor(partition, state)

    def catch_up(self, partition: int, state: SagaState) -> None:
        """Play it once more: what it asked for last may have been lost with its process."""
        if state.saga_id not in self._playing and is_code(self._app.get(state.name, state.version)):
            self.go_on(partition, state)
            played = self._playing.get(state.saga_id)
            if played is not None:
                played.heard = False
                self._catching_up.add(state.saga_id)
                seconds = min(self._rest, _GLANCE_SECONDS)
                asyncio.get_running_loop().call_later(seconds, self._glance, state.saga_id, played)

    @property
    def has_room(self) -> bool:
        """Whether another one may catch up."""
        return len(self._catching_up) < _CATCHING_UP

    def drop(self, partition: int) -> None:
        """The partition's owner is gone, and with it what was not committed."""
        for saga_id in [each for each, played in self._playing.items() if played.partition == partition]:
            self._stop(saga_id)

    def conductor(self, partition: int, state: SagaState) -> Conductor:
        """Whoever plays the run. state: as it is committed."""
        saga_id = state.saga_id
        found = self._playing.get(saga_id)
        if found is not None and found.conductor.run == state.run:
            return found.conductor
        saga = self._app.get(state.name, state.version)
        if not isinstance(saga, CodeSaga):
            raise AssertionError(f"{state.name} version {state.version} is no function")
        if found is not None:
            self._stop(saga_id)
        conductor = Conductor(
            saga, state, lambda command: self._say(partition, saga_id, command), self._newest
        )
        self._playing[saga_id] = _Played(partition, conductor)
        self._look_later(saga_id, conductor)
        return conductor

    def _newest(self, name: str) -> int:
        return max((saga.version for saga in self._app.newest() if saga.name == name), default=1)

    def _look_later(self, saga_id: str, conductor: Conductor) -> None:
        asyncio.get_running_loop().call_later(self._rest, self._look, saga_id, conductor)

    def _glance(self, saga_id: str, played: _Played) -> None:
        """Whether one that catches up has nothing to ask."""
        if self._playing.get(saga_id) is played:
            self._catching_up.discard(saga_id)
            if not played.heard and played.conductor.may_rest:
                self._stop(saga_id)

    def _look(self, saga_id: str, conductor: Conductor) -> None:
        """Now and then, whether it only waits, or waits for what cannot come."""
        played = self._playing.get(saga_id)
        if played is None or played.conductor is not conductor:
            return
        if not played.heard and conductor.may_rest:
            self._stop(saga_id)
            return
        played.heard = False
        played.overdue = played.overdue + 1 if conductor.look_for_change() else 0
        if played.overdue >= _OVERDUE_LOOKS:
            conductor.give_up()
            self._stop(saga_id)
            return
        self._look_later(saga_id, conductor)

    def _stop(self, saga_id: str) -> None:
        played = self._playing.pop(saga_id, None)
        self._catching_up.discard(saga_id)
        if played is not None:
            played.conductor.stop()


def is_code(saga: Saga | None) -> bool:
    return isinstance(saga, CodeSaga)
