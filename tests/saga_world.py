"""Sagas on a virtual clock: the pure engine, a log, a process that can die, and participants that honour keys.

Nothing here sleeps, and nothing is drawn: what an attempt comes to is a script's decision, so that a whole run
with its crashes is a value that can be computed twice and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Literal, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from orjson import loads

from sagahook_runner.domain.commands import AttemptFailed, AttemptLost, AttemptSucceeded, Command, Start
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.finished import Finished, FinishedIndex
from sagahook_runner.domain.react import Message
from sagahook_runner.domain.shard import Definitions, Entry, RateDue, Shard
from sagahook_runner.domain.state import FINAL, Open, SagaState
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.codec import decode_data
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import Phase, idempotency_key
from sagahook_schemas.steps import StepScheduled
from tests.oracle import Logged, Plans

BEGINNING = datetime(2030, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
"""The odd microseconds keep times from being exact to the millisecond by luck."""

ATTEMPT = timedelta(milliseconds=100)
"""How long an attempt takes, where it does not time out."""

Try = Literal[
    "ok",  # applied, and its answer comes back
    "fails",  # not applied, may be tried again
    "refused",  # not applied, for good
    "times out applied",
    "times out unapplied",
    "times out late",  # applied when the participant gets round to it, long after it was given up
    "crash before",  # the process dies before the effect
    "crash after",  # the process dies between the effect and its outcome
    "stopped",  # cancelled by an orderly stop, after the effect
    "never begun",
]


class Attempted(NamedTuple):
    """What a script may look at. failures: of this step and phase so far, which a crash does not count as."""

    saga_id: str
    step: str
    phase: Phase
    attempt: int
    failures: int


Script = Callable[[Attempted], Try]


RETRY = Retry(max=2, jitter=0)


def definition(
    *steps: str, name: str = "order", retry: Retry = RETRY, undo: Retry = RETRY, timeout: float = 30.0
) -> SagaDefinition:
    """Steps in order; one written `charge!` has no compensation. retry: the actions', undo: the compensations'."""
    return SagaDefinition(
        name=name,
        version=1,
        triggers=(),
        steps=tuple(
            StepDefinition(
                name=step.rstrip("!"),
                timeout=timeout,
                retry=retry,
                compensation=None
                if step.endswith("!")
                else CompensationDefinition(timeout=timeout, retry=undo),
            )
            for step in steps
        ),
    )


def plans(definitions: Iterable[SagaDefinition]) -> Plans:
    """The definitions in the oracle's words."""
    return {
        each.key: [(step.name, step.compensation is not None) for step in each.steps] for each in definitions
    }


def start(
    event_id: str, name: str = "order", version: int = 1, context: dict[str, JsonValue] | None = None
) -> Start:
    return Start(
        StartSaga(
            name=name,
            version=version,
            source="shop",
            event_id=event_id,
            correlation_id=f"cor-{event_id}",
            context=context or {},
        )
    )


@dataclass
class Participants:
    """The other systems: each effect once for its key, and no action after its undoing."""

    applied: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)

    def act(self, key: str) -> None:
        if key not in self.closed and key not in self.applied:
            self.applied.append(key)

    def undo(self, key: str, action_key: str) -> None:
        self.closed.add(action_key)
        if action_key in self.applied and key not in self.applied:
            self.applied.append(key)

    def kept(self) -> list[str]:
        """The actions that were applied and not undone."""
        undone = {key.replace("/compensation", "/action") for key in self.applied if "/compensation" in key}
        return sorted(key for key in self.applied if "/action" in key and key not in undone)


class Record(NamedTuple):
    """One event as the log holds it. commit: which transaction it belongs to."""

    saga_id: str
    run: int
    sequence: int
    ce_type: str
    value: bytes
    time: datetime
    correlation_id: str
    commit: int

    def event(self) -> Contract:
        return decode_data(self.ce_type, self.value)

    def logged(self) -> Logged:
        return Logged(self.saga_id, self.run, self.sequence, self.ce_type, loads(self.value), self.time, 0, 0)


class _UnderWay(NamedTuple):
    """An attempt that ends at `ends`; command None: its process dies then."""

    ends: datetime
    order: int
    saga_id: str
    command: Command | None


class ShortNames(FinishedIndex):
    """Takes any text for a saga's id, so that tests can call a saga `saga`."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}

    def put(self, finished: Finished) -> None:
        super().put(finished._replace(saga_id=self._uuid(finished.saga_id)))

    def get(self, saga_id: str) -> Finished | None:
        return self._named(super().get(self._uuid(saga_id)))

    def pop(self, saga_id: str) -> Finished | None:
        return self._named(super().pop(self._uuid(saga_id)))

    def expired(self, before_ms: int, limit: int) -> list[Finished]:
        return [
            each._replace(saga_id=self._names[each.saga_id]) for each in super().expired(before_ms, limit)
        ]

    def _uuid(self, name: str) -> str:
        found = str(uuid5(NAMESPACE_OID, name))
        self._names[found] = name
        return found

    def _named(self, found: Finished | None) -> Finished | None:
        return None if found is None else found._replace(saga_id=self._names[found.saga_id])


def shard_of(definitions: Iterable[SagaDefinition]) -> Shard:
    shard = Shard(Definitions(definitions))
    shard.finished = ShortNames()
    return shard


class World:
    """One partition. Every `apply` is one transaction; `log` and `snapshots` are what survives a crash."""

    def __init__(
        self, definitions: Iterable[SagaDefinition], script: Script = lambda attempted: "ok"
    ) -> None:
        self.definitions = {(each.name, each.version): each for each in definitions}
        self.script = script
        self.now = BEGINNING
        self.log: list[Record] = []
        self.snapshots: dict[str, bytes] = {}
        self.participants = Participants()
        self.shard = shard_of(self.definitions.values())
        self.commits = 0
        self.sent: list[Message] = []
        self.told: list[tuple[str, Command]] = []
        self.answers: dict[str, JsonValue] = {}
        self.after_commit: Callable[[World], None] = lambda world: None
        self._under_way: list[_UnderWay] = []
        self._late: list[tuple[datetime, int, str]] = []
        self._order = count()

    # -- what is done to it ---------------------------------------------------------------------------------

    def apply(self, saga_id: str, command: Command) -> list[Entry]:
        """One command, committed; its attempts begin after the commit."""
        applied = self.shard.apply(saga_id, command, self.now)
        entries = applied.entries
        self.sent += applied.messages
        if not entries:
            return entries
        self.commits += 1
        self.log.extend(
            Record(
                saga_id=entry.saga_id,
                run=entry.run,
                sequence=entry.sequence,
                ce_type=entry.event.ce_type,
                value=entry.event.to_json(),
                time=self.now,
                correlation_id=entry.correlation_id,
                commit=self.commits,
            )
            for entry in entries
        )
        self.snapshots[saga_id] = entries[-1].state.to_json()
        for entry in entries:
            if isinstance(entry.event, StepScheduled):
                self._begin(entry.state, entry.state.open[entry.event.step])
        self.after_commit(self)
        return entries

    def run(self, until: datetime | None = None) -> None:
        """Let everything happen that is due, in the order of time, until nothing is left (or `until`)."""
        while (moment := self._next()) is not None and (until is None or moment <= until):
            self.now = max(self.now, moment)
            self._happen()
        if until is not None:
            self.now = max(self.now, until)

    def crash(
        self, *, from_log: bool = False, reason: Literal["crash", "stopped", "never_begun"] = "crash"
    ) -> None:
        """The process dies and another one takes over; what it ran is lost, and what it had sent arrives late."""
        self._under_way.clear()
        self.shard = shard_of(self.definitions.values())
        for state in (
            self.folded().values() if from_log else map(SagaState.from_json, self.snapshots.values())
        ):
            self.shard.restore(state, self.now)
        for state, running in list(self.shard.running()):
            lost = AttemptLost(state.run, running.step, running.phase, running.attempt, reason)
            self.apply(state.saga_id, lost)

    # -- what is seen of it ---------------------------------------------------------------------------------

    def state(self, saga_id: str = "saga") -> SagaState:
        return self.shard.state(saga_id)

    def folded(self) -> dict[str, SagaState]:
        """Every state as the log alone tells it."""
        states: dict[str, SagaState] = {}
        for record in self.log:
            before = states.get(record.saga_id) or SagaState(record.saga_id)
            states[record.saga_id] = evolve(before, record.event())
        return states

    def logged(self) -> list[Logged]:
        return [record.logged() for record in self.log]

    def undone(self, saga_id: str = "saga") -> list[str]:
        """The compensations that succeeded, in their order."""
        return [
            event.data["step"]
            for event in self.logged()
            if event.saga_id == saga_id
            and event.kind == "step.completed"
            and event.data["phase"] == "compensation"
        ]

    def all_ended(self) -> bool:
        return all(
            SagaState.from_json(snapshot).status in FINAL | {"SUSPENDED"}
            for snapshot in self.snapshots.values()
        )

    # -- how it goes on -------------------------------------------------------------------------------------

    def _next(self) -> datetime | None:
        due = self.shard.next_due()
        moments = [due] if due is not None else []
        moments += [self._under_way[0].ends] if self._under_way else []
        moments += [self._late[0][0]] if self._late else []
        return min(moments, default=None)

    def _happen(self) -> None:
        if self._late and self._late[0][0] <= self.now:
            self.participants.act(heappop(self._late)[2])
        elif self._under_way and self._under_way[0].ends <= self.now:
            ended = heappop(self._under_way)
            if ended.command is None:
                self.crash(from_log=self.commits % 2 == 0)
            else:
                self.tell(ended.saga_id, ended.command)
        # As the owner does: whatever happened, all timers that are due by now.
        while (timer := self.shard.pop_due(self.now)) is not None:
            key, due = timer
            assert not isinstance(due, RateDue), "this world has no limits"
            self.apply(key, due)

    def tell(self, saga_id: str, outcome: Command) -> None:
        self.told.append((saga_id, outcome))
        self.apply(saga_id, outcome)

    def _begin(self, state: SagaState, running: Open) -> None:
        saga_id = state.saga_id
        assert running.at is not None
        attempted = Attempted(saga_id, running.step, running.phase, running.attempt, running.failures)
        comes_to = self.script(attempted)
        key = idempotency_key(saga_id, state.run, running.step, running.phase)
        action_key = idempotency_key(saga_id, state.run, running.step, "action")
        if comes_to in ("ok", "times out applied", "crash after", "stopped"):
            if running.phase == "action":
                self.participants.act(key)
            else:
                self.participants.undo(key, action_key)
        if comes_to == "times out late" and running.phase == "action":
            heappush(self._late, (running.at + 40 * ATTEMPT, next(self._order), key))
        ends = running.at if comes_to.startswith("times out") else self.now + ATTEMPT
        command = self._outcome(state, running, comes_to, ends - self.now)
        heappush(self._under_way, _UnderWay(ends, next(self._order), saga_id, command))

    def _outcome(self, state: SagaState, running: Open, comes_to: Try, took: timedelta) -> Command | None:
        which = (state.run, running.step, running.phase, running.attempt)
        duration = round(took / timedelta(milliseconds=1))
        match comes_to:
            case "ok":
                return AttemptSucceeded(*which, self._answer(running), duration)
            case "stopped" | "never begun":
                return AttemptLost(*which, "stopped" if comes_to == "stopped" else "never_begun")
            case "crash before" | "crash after":
                return None
            case "fails":
                error, retryable, unknown = "ShopError: try again", True, False
            case "refused":
                error, retryable, unknown = "PermanentError: declined", False, False
            case _:
                error, retryable, unknown = f"TimeoutError: no answer within {took.seconds} s", True, True
        return AttemptFailed(*which, error, retryable, unknown, duration, dice=0.5)

    def _answer(self, running: Open) -> JsonValue:
        if running.phase == "compensation":
            return None
        return self.answers.get(running.step, {"did": running.step})
