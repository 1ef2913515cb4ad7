"""All sagas of one partition, in memory: the states, the timers, and the owner's time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import NamedTuple

from sagahook_runner.domain.commands import AttemptLost, Command, RetryDue, Start
from sagahook_runner.domain.decide import compatible, decide
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.state import FINAL, Running, SagaState, Waiting
from sagahook_schemas.base import Contract
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.steps import StepRetryScheduled

Definitions = dict[tuple[str, int], SagaDefinition]
"""What is deployed here, by saga name and version."""


class Entry(NamedTuple):
    """One event of one saga's log. sequence: from 1, contiguous within the run."""

    saga_id: str
    run: int
    sequence: int
    name: str
    correlation_id: str
    event: Contract


class Shard:
    """Applies commands to the sagas of a partition.

    Whatever it holds is only as true as the transaction that carries it: after a failed commit the whole shard
    is thrown away and restored.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._states: dict[str, SagaState] = {}
        self._timers: list[tuple[datetime, int, str, Command]] = []
        self._tie_breaker = count()

    def restore(self, state: SagaState) -> None:
        """Put a saga back as its snapshot, or the fold of its log, tells it."""
        self._states[state.saga_id] = state
        if isinstance(state.current, Waiting):
            self.set_timer(state.current.due_at, state.saga_id, RetryDue(state.run, state.current.attempt))

    def state(self, saga_id: str) -> SagaState:
        return self._states.get(saga_id) or SagaState(saga_id)

    def live(self) -> Iterator[SagaState]:
        return (state for state in self._states.values() if state.status not in FINAL)

    def running(self) -> Iterator[tuple[SagaState, Running]]:
        """The sagas that wait for an attempt's outcome."""
        return (
            (state, state.current) for state in self._states.values() if isinstance(state.current, Running)
        )

    def unfit(self) -> Iterator[tuple[SagaState, str]]:
        """The live sagas that no deployed definition can carry on, each with the reason."""
        for state in self.live():
            if state.status == "SUSPENDED":
                continue
            definition = self._definitions.get((state.name, state.version))
            if definition is None:
                yield state, f"version {state.version} of {state.name} is not deployed: deploy it"
            elif definition.hash != state.definition_hash and not compatible(state, definition):
                yield (
                    state,
                    f"the history of this run does not fit the deployed definition of {state.name} version "
                    f"{state.version}: deploy the steps it began with, or give the new ones their own version",
                )

    def apply(self, saga_id: str, command: Command, now: datetime) -> list[Entry]:
        """Decide and evolve. now: the owner's time."""
        state = self.state(saga_id)
        correlation_id = state.correlation_id
        key = (state.name, state.version)
        if isinstance(command, Start):
            correlation_id = command.request.correlation_id
            key = (command.request.name, command.request.version)
        entries = []
        for event in decide(state, command, self._definitions.get(key), now):
            state = evolve(state, event)
            entries.append(Entry(saga_id, state.run, state.sequence, state.name, correlation_id, event))
            if isinstance(event, StepRetryScheduled):
                self.set_timer(event.due_at, saga_id, RetryDue(state.run, event.attempt))
        if entries:
            self._states[saga_id] = state
        return entries

    def set_timer(self, due_at: datetime, saga_id: str, command: RetryDue | AttemptLost) -> None:
        """Apply the command when the time comes; by then it may have become pointless, which `decide` sees."""
        heapq.heappush(self._timers, (due_at, next(self._tie_breaker), saga_id, command))

    def next_due(self) -> datetime | None:
        return self._timers[0][0] if self._timers else None

    def pop_due(self, now: datetime) -> tuple[str, Command] | None:
        """The next timer that has come."""
        if not self._timers or self._timers[0][0] > now:
            return None
        _, _, saga_id, command = heapq.heappop(self._timers)
        return saga_id, command
