"""All sagas and limits of one partition, in memory: the states, the timers, and what follows from a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sagahook_runner.domain.commands import (
    AttemptLost,
    Command,
    DeadlineDue,
    Operate,
    Start,
    StepDue,
)
from sagahook_runner.domain.controls import Held
from sagahook_runner.domain.decide import compatible, follow
from sagahook_runner.domain.finished import Finished, FinishedIndex, digest_of
from sagahook_runner.domain.limits import Bounds, LimitState, follow_limit, limit_messages, next_turn
from sagahook_runner.domain.react import Message, answers, messages
from sagahook_runner.domain.state import FINAL, Open, SagaState
from sagahook_runner.domain.timers import Timers
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import MigrateSaga, ReleaseSlot, RequestSlot, RetrySaga
from sagahook_schemas.definitions import SagaDefinition

DEDUPLICATION_WINDOW = timedelta(days=7)
"""How long a finished saga is remembered: until then a webhook with its identity joins it."""

_FORGET_AT_ONCE = 500


class Definitions:
    """What is deployed here."""

    def __init__(self, definitions: Iterable[SagaDefinition]) -> None:
        self._by_version = {(each.name, each.version): each for each in definitions}
        self._newest: dict[str, SagaDefinition] = {}
        for each in self._by_version.values():
            if each.name not in self._newest or self._newest[each.name].version < each.version:
                self._newest[each.name] = each

    def get(self, name: str, version: int) -> SagaDefinition | None:
        return self._by_version.get((name, version))

    def newest(self, name: str) -> SagaDefinition | None:
        return self._newest.get(name)


class Entry(NamedTuple):
    """One event of one saga's log. sequence: from 1, contiguous within the run. state: after it."""

    saga_id: str
    run: int
    sequence: int
    name: str
    correlation_id: str
    event: Contract
    state: SagaState


class Applied(NamedTuple):
    """What a command led to: events for the log, commands for others."""

    entries: list[Entry]
    messages: list[Message]


class AppliedToLimit(NamedTuple):
    state: LimitState
    events: list[Contract]
    messages: list[Message]


class Shard:
    """Applies commands to the sagas of a partition.

    Whatever it holds is only as true as the transaction that carries it: after a failed commit the whole shard
    is thrown away and restored. first_run: what a saga that is not remembered begins with; higher than any run
    that was forgotten.
    """

    def __init__(self, definitions: Definitions, window: timedelta = DEDUPLICATION_WINDOW) -> None:
        self._definitions = definitions
        self._window = window
        self._states: dict[str, SagaState] = {}
        self.finished = FinishedIndex()
        self.limits: dict[str, LimitState] = {}
        self.held = Held()
        self.first_run = 1
        self.timers = Timers()

    # -- what it holds --------------------------------------------------------------------------------------

    def restore(self, state: SagaState, ended: datetime | None = None) -> None:
        """Put a saga back as its snapshot, or the fold of its log, tells it. ended: when its last event was."""
        self._keep(state, ended or datetime.fromtimestamp(0, UTC), was_final=True)
        self._arm(state)

    def restore_limit(self, state: LimitState) -> None:
        if not state.is_idle or state.full_at is not None:
            self.limits[state.key] = state

    def state(self, saga_id: str) -> SagaState:
        """A finished one that is remembered in short has no more than its identity."""
        live = self._states.get(saga_id)
        if live is not None:
            return live
        known = self.finished.get(saga_id)
        if known is None:
            return SagaState.new(saga_id, self.first_run)
        return SagaState(
            saga_id, known.run, known.sequence, known.status, name=known.name, version=known.version
        )

    def all(self) -> Iterator[SagaState]:
        """Those that are not remembered in short."""
        return iter(self._states.values())

    def is_kept_in_full(self, saga_id: str) -> bool:
        return saga_id in self._states

    def live(self) -> Iterator[SagaState]:
        return (state for state in self._states.values() if state.status not in FINAL)

    def running(self) -> Iterator[tuple[SagaState, Open]]:
        """The attempts whose outcomes come from a process of ours."""
        return (
            (state, each)
            for state in self._states.values()
            for each in state.open.values()
            if each.standing == "running" and not each.remote
        )

    def unfit(self) -> Iterator[tuple[SagaState, str]]:
        """The live sagas that no deployed definition can carry on, each with the reason."""
        for state in self.live():
            if state.status == "SUSPENDED":
                continue
            definition = self._definitions.get(state.name, state.version)
            if definition is None:
                yield state, f"version {state.version} of {state.name} is not deployed: deploy it"
            elif definition.hash != state.definition_hash and not compatible(state, definition):
                yield (
                    state,
                    f"the history of this run does not fit the deployed definition of {state.name} version "
                    f"{state.version}: deploy the steps it began with, or give the new ones their own version",
                )

    def fit_again(self) -> Iterator[SagaState]:
        """The parked sagas that the deployed definition can carry on."""
        for state in self.live():
            definition = self._definitions.get(state.name, state.version)
            parked = state.status == "SUSPENDED" and state.cause == "definition"
            if parked and definition is not None and compatible(state, definition):
                yield state

    # -- what is done to it ---------------------------------------------------------------------------------

    def apply(self, saga_id: str, command: Command, now: datetime) -> Applied:
        """Decide and evolve. now: the owner's time."""
        if isinstance(command, Start):
            before = self._before_start(saga_id, command, now)
            if before is None:
                return Applied([], [])
            state, correlation_id = before, command.request.correlation_id
        else:
            state = self._states.get(saga_id) or self.state(saga_id)
            correlation_id = state.correlation_id
        told = follow(state, command, self._definition(state, command), now)
        if not told:
            return Applied([], list(answers(command, state)))
        entries: list[Entry] = []
        sent: list[Message] = []
        for event, after in told:
            entries.append(
                Entry(saga_id, after.run, after.sequence, after.name, correlation_id, event, after)
            )
            sent += messages(event, after)
        self._keep(after, now, was_final=state.status in FINAL)
        if after.open or after.deadline_at is not None:
            self._arm(after, state)
        return Applied(entries, sent)

    def apply_to_limit(
        self, key: str, command: RequestSlot | ReleaseSlot | None, now: datetime
    ) -> AppliedToLimit:
        """command None: time has passed, or another definition was deployed."""
        state = self.limits.get(key) or LimitState(key)
        name = command.name if isinstance(command, RequestSlot) else state.name
        bounds = Bounds.of(self._definitions.newest(name))
        events = follow_limit(state, command, bounds, now)
        if events:
            self.limits[key] = state
        due = next_turn(state, bounds, now)
        if due is not None:
            self.timers.set_rate(due, key)
        return AppliedToLimit(
            state, events, [each for event in events for each in limit_messages(key, event)]
        )

    def forget(self, now: datetime) -> list[str]:
        """The ids of finished sagas whose window has ended, a bounded number; they are forgotten."""
        gone = self.finished.expired(int((now - self._window).timestamp() * 1000), _FORGET_AT_ONCE)
        self.first_run = max([self.first_run, *(each.run + 1 for each in gone)])
        for each in gone:
            self._states.pop(each.saga_id, None)
        return [each.saga_id for each in gone]

    def forget_limits(self, now: datetime) -> list[str]:
        """The keys of limits that nobody waits for or holds, and whose whole burst is there again: nothing is lost with
        them."""
        idle = [
            key
            for key, limit in self.limits.items()
            if limit.is_idle and (limit.full_at is None or limit.full_at <= now)
        ]
        for key in idle:
            del self.limits[key]
        return idle

    def erase(self, erased: SagaState) -> None:
        """In place of what it holds of the saga: the same without the payload, as the log now tells it."""
        if erased.saga_id in self._states:
            self._states[erased.saga_id] = erased

    # -- timers ---------------------------------------------------------------------------------------------

    def expect_outcome_until(self, due_at: datetime, saga_id: str, lost: AttemptLost) -> None:
        """The attempt counts as lost unless another process tells of it by then."""
        self.timers.set(due_at, saga_id, lost)

    def _arm(self, state: SagaState, before: SagaState | None = None) -> None:
        """Timers for what the saga waits for, but for what it waited for before already."""
        resumed = before is not None and before.status == "SUSPENDED"
        for name, each in state.open.items():
            known = before.open.get(name) if before is not None and not resumed else None
            if each.at is None or each is known:
                continue
            if each.standing in ("waiting", "sleeping", "awaiting") or each.remote:
                self.timers.set(each.at, state.saga_id, StepDue(state.run, name, each.attempt))
        new_deadline = before is None or resumed or before.deadline_at != state.deadline_at
        if state.deadline_at is not None and state.status not in FINAL and new_deadline:
            self.timers.set(state.deadline_at, state.saga_id, DeadlineDue(state.run))

    # -- memory ---------------------------------------------------------------------------------------------

    def _before_start(self, saga_id: str, command: Start, now: datetime) -> SagaState | None:
        """The state that the webhook meets; None where it came before."""
        state = self.state(saga_id)
        if state.status not in FINAL or state.status == "FAILED":
            return state
        known = self.finished.get(saga_id)
        if known is not None:
            if known.matches(command.request.wish):
                return None
            if known.ended_ms <= (now - self._window).timestamp() * 1000:
                self.finished.pop(saga_id)
                self._states.pop(saga_id, None)
                return SagaState.new(saga_id, known.run + 1)
        return state

    def _definition(self, state: SagaState, command: Command) -> SagaDefinition | None:
        if isinstance(command, Start):
            return self._definitions.get(command.request.name, command.request.version)
        if isinstance(command, Operate):
            if isinstance(command.request, MigrateSaga):
                return self._definitions.get(state.name, command.request.version)
            if isinstance(command.request, RetrySaga) and state.status in FINAL:
                return self._definitions.newest(state.name)
        return self._definitions.get(state.name, state.version)

    def _keep(self, state: SagaState, now: datetime, *, was_final: bool) -> None:
        """A completed saga is remembered in short, one that was rolled back also in full, for an operator who runs it
        again; one that failed waits for an operator, and is not forgotten."""
        self.held.keep(state)
        if not was_final and state.status not in FINAL:
            self._states[state.saga_id] = state
            return
        known = self.finished.get(state.saga_id) if was_final else None
        if is_remembered(state):
            ended_ms = known.ended_ms if known is not None and known.run == state.run else _milliseconds(now)
            finished = Finished(
                saga_id=state.saga_id,
                run=state.run,
                sequence=state.sequence,
                status=state.status,
                ended_ms=ended_ms,
                event_id=known.event_id
                if known is not None and not state.event_id
                else digest_of(state.wish),
                name=state.name,
                version=state.version,
            )
            self.finished.put(finished)
            if is_remembered_in_short(state):
                self._states.pop(state.saga_id, None)
                return
        elif known is not None:
            self.finished.pop(state.saga_id)
        self._states[state.saga_id] = state


def is_remembered(state: SagaState) -> bool:
    """Whether it is forgotten when its window ends. A child is kept until its parent is final."""
    return state.status in ("COMPLETED", "ROLLED_BACK") and state.parent is None


def is_remembered_in_short(state: SagaState) -> bool:
    return state.status == "COMPLETED" and state.parent is None


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
