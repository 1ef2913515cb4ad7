"""Sagas on a virtual clock: the pure engine, a log, a process that can die, and participants that honour keys.

Nothing here sleeps, and nothing is drawn: what an attempt comes to is a script's decision, so that a whole run
with its crashes is a value that can be computed twice and compared. What sagas, limits and children ask of each
other is delivered once, in the order of sending for each key, and a crash loses none of it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from copy import copy
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from sagahook_runner.domain.commands import (
    AttemptContinued,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Operate,
    Request,
)
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.limits import limits_from, snapshots_of
from sagahook_runner.domain.react import Message
from sagahook_runner.domain.shard import Entry
from sagahook_runner.domain.state import FINAL, Open, SagaState
from sagahook_runner.domain.timers import RateDue
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.commands import ReleaseSlot, RequestSlot
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.identity import idempotency_key
from sagahook_schemas.steps import StepScheduled
from tests.oracle import LimitLogged, Logged
from tests.saga_parts import (
    ATTEMPT,
    BEGINNING,
    Attempted,
    LimitRecord,
    Participants,
    Record,
    Script,
    Try,
    UnderWay,
    command_of,
    definition,
    plans,
    shard_of,
    start,
    step,
)

__all__ = [
    "ATTEMPT",
    "BEGINNING",
    "Attempted",
    "Participants",
    "Record",
    "Script",
    "Try",
    "World",
    "definition",
    "plans",
    "shard_of",
    "start",
    "step",
]

_PASSED = timedelta(milliseconds=3)
"""From a commit that asks something of somebody until it reaches them, where nothing else is said."""


class World:
    """One partition. Every `apply` is one transaction; `log`, `snapshots` and what was sent survive a crash.

    answers: results of actions by step. says: what preparations say by step. takes: how long an attempt takes, by
    default ATTEMPT; where it is given, one that is made again after a crash ends when the lost one would have,
    as if its participant had gone on. delay: how long a
    message travels; one for the same key never overtakes another.
    """

    def __init__(
        self, definitions: Iterable[SagaDefinition], script: Script = lambda attempted: "ok"
    ) -> None:
        self.definitions = {(each.name, each.version): each for each in definitions}
        self.script = script
        self.now = BEGINNING
        self.log: list[Record] = []
        self.limit_log: list[LimitRecord] = []
        self.snapshots: dict[str, bytes] = {}
        self.limits: dict[str, bytes] = {}
        self.participants = Participants()
        self.shard = shard_of(self.definitions.values())
        self.commits = 0
        self.crashes = 0
        self.sent: list[Message] = []
        self.told: list[tuple[str, Command]] = []
        self.answers: dict[str, JsonValue] = {}
        self.says: dict[str, JsonValue] = {}
        self.takes: Callable[[Attempted], timedelta] | None = None
        self.delay: Callable[[Message], timedelta] = lambda message: _PASSED
        self.effects_at_the_end = False
        self.after_commit: Callable[[World], None] = lambda world: None
        self._ended: dict[str, datetime] = {}
        self._under_way: list[UnderWay] = []
        self._remote: list[UnderWay] = []
        self._late: list[tuple[datetime, int, str]] = []
        self._mail: dict[str, deque[Contract]] = defaultdict(deque)
        self._arrivals: list[tuple[datetime, int, str]] = []
        self._planned: list[tuple[datetime, int, Callable[[World], object]]] = []
        self._ends_at: dict[Attempted, datetime] = {}
        self._read: list[Logged] = []
        self._order = count()

    # -- what is done to it ---------------------------------------------------------------------------------

    def apply(self, saga_id: str, command: Command) -> list[Entry]:
        """One command, committed; its attempts begin after the commit."""
        applied = self.shard.apply(saga_id, command, self.now)
        entries = applied.entries
        self._send(applied.messages)
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
        self._ended[saga_id] = self.now
        for entry in entries:
            if isinstance(entry.event, StepScheduled):
                opened = entry.state.open[entry.event.step]
                if entry.event.participant is not None or not opened.remote:
                    self._begin(entry.state, opened)
        self.after_commit(self)
        return entries

    def apply_to_limit(self, key: str, command: RequestSlot | ReleaseSlot | None) -> None:
        applied = self.shard.apply_to_limit(key, command, self.now)
        self._send(applied.messages)
        if applied.events:
            self.commits += 1
            self.limit_log.extend(
                LimitRecord(key, each.ce_type, each.to_json(), self.now) for each in applied.events
            )
            for name, value in snapshots_of(applied.state, applied.events):
                if value is None:
                    self.limits.pop(name, None)
                else:
                    self.limits[name] = value
            self.after_commit(self)

    def operate(self, request: Request, saga_id: str = "saga") -> list[Entry]:
        return self.apply(saga_id, Operate(request, f"cmd-{next(self._order)}"))

    def plan(self, after: float, act: Callable[[World], object]) -> None:
        """Let it happen to this world, or to a copy, so many seconds from now, whatever dies until then."""
        heappush(self._planned, (self.now + timedelta(seconds=after), next(self._order), act))

    def run(self, until: datetime | None = None) -> None:
        """Let everything happen that is due, in the order of time, until nothing is left (or `until`)."""
        while (moment := self._next()) is not None and (until is None or moment <= until):
            self.now = max(self.now, moment)
            self._happen()
        if until is not None:
            self.now = max(self.now, until)

    def where_its_process_dies(self, script: Callable[[World], Script], *, from_log: bool = False) -> World:
        """Another world that came as far as this one, also in the middle of what happens, and went on without the
        process that runs here. script: the other's."""
        other = copy(self)
        copied = {
            name: copy(each) for name, each in vars(self).items() if isinstance(each, list | dict | count)
        }
        vars(other).update(copied)
        other._mail = defaultdict(deque, {key: deque(mail) for key, mail in self._mail.items()})
        other.participants = Participants([*self.participants.applied], {*self.participants.closed})
        other.script, other.after_commit = script(other), lambda world: None
        other.crash(from_log=from_log)
        other._catch_up()
        other.run()
        return other

    def crash(
        self, *, from_log: bool = False, reason: Literal["crash", "stopped", "never_begun"] = "crash"
    ) -> None:
        """The process dies and another one takes over; what it ran is lost, and what it had sent arrives late."""
        self.crashes += 1
        self._under_way.clear()
        first_run = self.shard.first_run
        self.shard = shard_of(self.definitions.values())
        self.shard.first_run = first_run
        states = self.folded().values() if from_log else map(SagaState.from_json, self.snapshots.values())
        for state in states:
            if state.saga_id in self.snapshots:
                self.shard.restore(state, self._ended[state.saga_id])
        for limit in limits_from(self.limits):
            self.shard.restore_limit(limit)
        for key in list(self.shard.limits):
            self.apply_to_limit(key, None)
        for state, running in list(self.shard.running()):
            lost = AttemptLost(state.run, running.step, running.phase, running.attempt, reason)
            self.apply(state.saga_id, lost)

    def deploy(self, *definitions: SagaDefinition, without: Iterable[tuple[str, int]] = ()) -> None:
        """A new process with other definitions; it parks what it cannot carry on, and goes on with what it can."""
        self.definitions |= {(each.name, each.version): each for each in definitions}
        for gone in without:
            self.definitions.pop(gone, None)
        self.crash(reason="stopped")

    def forget(self) -> list[str]:
        gone = self.shard.forget(self.now)
        for saga_id in gone:
            self.snapshots.pop(saga_id, None)
        return gone

    # -- what is seen of it ---------------------------------------------------------------------------------

    def state(self, saga_id: str = "saga") -> SagaState:
        return self.shard.state(saga_id)

    def folded(self) -> dict[str, SagaState]:
        """Every state as the log alone tells it."""
        states: dict[str, SagaState] = {}
        for record in self.log:
            before = states.get(record.saga_id)
            if before is None or (record.sequence == 1 and record.run != before.run + 1):
                # It was forgotten meanwhile, or never there.
                before = SagaState(record.saga_id, run=record.run)
            states[record.saga_id] = evolve(before, record.event())
        return states

    def logged(self) -> list[Logged]:
        self._read += [record.logged() for record in self.log[len(self._read) :]]
        return list(self._read)

    def limit_logged(self, key: str) -> list[LimitLogged]:
        return [record.logged() for record in self.limit_log if record.key == key]

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
        due = self.shard.timers.next_due()
        moments = [due] if due is not None else []
        moments += [each[0].ends for each in (self._under_way, self._remote) if each]
        moments += [self._late[0][0]] if self._late else []
        moments += [self._arrivals[0][0]] if self._arrivals else []
        moments += [self._planned[0][0]] if self._planned else []
        return min(moments, default=None)

    def _happen(self) -> None:
        if self._late and self._late[0][0] <= self.now:
            self.participants.act(heappop(self._late)[2])
        elif self._planned and self._planned[0][0] <= self.now:
            heappop(self._planned)[2](self)
        elif self._arrivals and self._arrivals[0][0] <= self.now:
            key = heappop(self._arrivals)[2]
            self._deliver(key, self._mail[key].popleft())
        elif self._remote and self._remote[0].ends <= self.now:
            self._end(heappop(self._remote))
        elif self._under_way and self._under_way[0].ends <= self.now:
            self._end(heappop(self._under_way))
        self._catch_up()

    def _catch_up(self) -> None:
        """As the owner does, whatever happened: all timers that are due by now."""
        while (timer := self.shard.timers.pop_due(self.now)) is not None:
            key, due = timer
            if isinstance(due, RateDue):
                self.apply_to_limit(key, None)
            else:
                self.apply(key, due)

    def _send(self, messages: list[Message]) -> None:
        self.sent += messages
        for message in messages:
            self._mail[message.key].append(message.command)
            heappush(self._arrivals, (self.now + self.delay(message), next(self._order), message.key))

    def _deliver(self, key: str, command: Contract) -> None:
        if isinstance(command, RequestSlot | ReleaseSlot):
            self.apply_to_limit(key, command)
        else:
            self.apply(key, command_of(command, f"msg-{next(self._order)}"))

    def _end(self, ended: UnderWay) -> None:
        if ended.command is None:
            self.crash(from_log=self.commits % 2 == 0)
            return
        if ended.key:
            self._effect(ended.key)
        self.tell(ended.saga_id, ended.command)

    def tell(self, saga_id: str, outcome: Command) -> None:
        self.told.append((saga_id, outcome))
        self.apply(saga_id, outcome)

    def _begin(self, state: SagaState, running: Open) -> None:
        saga_id = state.saga_id
        assert running.at is not None
        carry = running.carry if isinstance(running.carry, int) else 0
        attempted = Attempted(
            saga_id, running.step, running.phase, running.attempt, running.failures, state.run, carry
        )
        comes_to = self.script(attempted)
        key = idempotency_key(saga_id, state.run, running.step, running.phase)
        applies = comes_to in ("ok", "continues", "times out applied", "crash after", "stopped")
        at_the_end = self.effects_at_the_end and comes_to in ("ok", "continues")
        if applies and not at_the_end:
            self._effect(key)
        if comes_to == "times out late" and running.phase == "action":
            heappush(self._late, (running.at + 40 * ATTEMPT, next(self._order), key))
        ends = running.at if comes_to.startswith("times out") else self._ends(attempted)
        command = self._outcome(state, running, comes_to, ends - self.now, carry)
        under_way = UnderWay(ends, next(self._order), saga_id, command, key if at_the_end else "")
        if not running.remote:
            heappush(self._under_way, under_way)
        elif command is None:
            # It is our process that dies: the participant answers all the same.
            heappush(self._under_way, under_way)
            again = self._outcome(state, running, "ok", ends - self.now, carry)
            heappush(self._remote, UnderWay(ends + ATTEMPT, next(self._order), saga_id, again, key))
        elif comes_to == "times out late":
            answer = self._outcome(state, running, "ok", ends - self.now, carry)
            heappush(self._remote, UnderWay(ends + 50 * ATTEMPT, next(self._order), saga_id, answer))
        elif not comes_to.startswith("times out") and not isinstance(command, AttemptLost):
            heappush(self._remote, under_way)

    def _ends(self, attempted: Attempted) -> datetime:
        if self.takes is None:
            return self.now + ATTEMPT
        same = attempted._replace(attempt=0)
        return max(self.now, self._ends_at.setdefault(same, self.now + self.takes(attempted)))

    def _effect(self, key: str) -> None:
        phase = key.rpartition("/")[2]
        if phase == "action":
            self.participants.act(key)
        elif phase == "compensation":
            self.participants.undo(key, key.removesuffix("compensation") + "action")

    def _outcome(
        self, state: SagaState, running: Open, comes_to: Try, took: timedelta, carry: int
    ) -> Command | None:
        which = (state.run, running.step, running.phase, running.attempt)
        duration = round(took / timedelta(milliseconds=1))
        match comes_to:
            case "ok":
                return AttemptSucceeded(*which, self._answer(running), duration)
            case "continues":
                return AttemptContinued(*which, 0.5, carry + 1)
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
        match running.phase:
            case "compensation":
                return None
            case "prepare":
                return self.says.get(running.step, {"value": None})
        return self.answers.get(running.step, {"did": running.step})
