"""The parts of `tests.saga_world`: definitions in short, what a script decides, participants, and the log's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from orjson import loads

from sagahook_runner.domain.commands import (
    Admit,
    AttemptContinued,
    AttemptFailed,
    AttemptSucceeded,
    Command,
    Operate,
    Release,
    Start,
    Undo,
)
from sagahook_runner.domain.finished import Finished, FinishedIndex
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.codec import decode_data
from sagahook_schemas.commands import (
    CancelSaga,
    CompleteStep,
    GrantSlot,
    MigrateSaga,
    ReleaseChild,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
    StartSaga,
    UndoChild,
)
from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import Phase
from tests.oracle import LimitLogged, Logged, Plan, Planned, Plans

BEGINNING = datetime(2030, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
"""The odd microseconds keep times from being exact to the millisecond by luck."""

ATTEMPT = timedelta(milliseconds=100)
"""How long an attempt takes, where it does not time out."""

Try = Literal[
    "ok",  # applied, and its answer comes back
    "fails",  # not applied, may be tried again
    "refused",  # not applied, for good
    "continues",  # applied, and to be called again
    "times out applied",
    "times out unapplied",
    "times out late",  # applied when the participant gets round to it, long after it was given up
    "crash before",  # the process dies before the effect
    "crash after",  # the process dies between the effect and its outcome
    "stopped",  # cancelled by an orderly stop, after the effect
    "never begun",
]


class Attempted(NamedTuple):
    """What a script may look at. failures: of this step and phase so far, which a crash does not count as. carry: what
    the last attempt that continued left: how often it did."""

    saga_id: str
    step: str
    phase: Phase
    attempt: int
    failures: int
    run: int = 1
    carry: int = 0


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
            step(each.rstrip("!"), undoable=not each.endswith("!"), retry=retry, undo=undo, timeout=timeout)
            for each in steps
        ),
    )


def step(
    name: str,
    *,
    undoable: bool = True,
    retry: Retry = RETRY,
    undo: Retry = RETRY,
    timeout: float = 30.0,
    **said: object,
) -> StepDefinition:
    """said: any other field of a step's definition."""
    compensation = CompensationDefinition(timeout=timeout, retry=undo) if undoable else None
    return StepDefinition.model_validate(
        {"name": name, "timeout": timeout, "retry": retry, "compensation": compensation, **said}
    )


def plans(definitions: Iterable[SagaDefinition]) -> Plans:
    """The definitions in the oracle's words."""
    return {each.key: _plan(each) for each in definitions}


def _plan(definition: SagaDefinition) -> Plan:
    steps: dict[str, Planned] = {}
    before: tuple[str, ...] = ()
    for each in definition.steps:
        steps[each.name] = Planned(
            each.name,
            undoable=each.compensation is not None or each.does == "child",
            after=before if each.after is None else each.after,
            does=each.does,
            prepares=each.prepares,
            pivot=each.pivot,
            at_once=each.concurrency,
            goes_on_without_signal=each.on_timeout == "continue",
        )
        before = (each.name,)
    return Plan(steps, parallel=definition.compensation == "parallel", by_code=definition.code)


def start(
    event_id: str,
    name: str = "order",
    version: int = 1,
    context: dict[str, JsonValue] | None = None,
    limit_key: str | None = None,
) -> Start:
    return Start(
        StartSaga(
            name=name,
            version=version,
            source="shop",
            event_id=event_id,
            correlation_id=f"cor-{event_id}",
            context=context or {},
            limit_key=limit_key,
        )
    )


def command_of(message: Contract, message_id: str) -> Command:
    """As the partition's owner understands what is on the topic of commands."""
    match message:
        case StartSaga():
            return Start(message)
        case GrantSlot():
            return Admit(message.run, message.limit_key)
        case UndoChild():
            return Undo(message.reason)
        case ReleaseChild():
            return Release()
        case CompleteStep():
            return _outcome_of(message)
        case CancelSaga() | RetrySaga() | ResolveCompensation() | SignalSaga() | MigrateSaga():
            return Operate(message, message_id)
    raise AssertionError(f"{message} is no command of a saga")


def _outcome_of(told: CompleteStep) -> Command:
    which = (told.run, told.step, told.phase, told.attempt)
    if told.continue_after is not None:
        return AttemptContinued(*which, told.continue_after, told.result)
    if told.error is None:
        return AttemptSucceeded(*which, told.result, told.duration_ms)
    failed = (*which, told.error, told.retryable, told.unknown, told.duration_ms)
    return AttemptFailed(*failed, 0.5, told.retry_after)


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


class LimitRecord(NamedTuple):
    key: str
    ce_type: str
    value: bytes
    time: datetime

    def logged(self) -> LimitLogged:
        return LimitLogged(self.ce_type, loads(self.value), self.time)


class UnderWay(NamedTuple):
    """An attempt that ends at `ends`; command None: its process dies then. key: of its effect, where that is applied
    at the end."""

    ends: datetime
    order: int
    saga_id: str
    command: Command | None
    key: str = ""


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
