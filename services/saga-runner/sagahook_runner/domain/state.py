"""A saga as its log tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import Any, Literal

from orjson import dumps, loads

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase

Status = Literal[
    "NEW", "PENDING", "EXECUTING", "COMPENSATING", "COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"
]

FINAL: frozenset[Status] = frozenset({"COMPLETED", "ROLLED_BACK", "FAILED"})

_new, _set = object.__new__, object.__setattr__

Standing = Literal["running", "failed", "waiting", "sleeping", "awaiting", "child", "each"]
"""running: an attempt is under way. failed: it ended so, and nothing was decided about a further one. waiting: the
next attempt has its time. sleeping, awaiting (a signal), child, each: as the step's definition says."""

_ACTIVE: frozenset[Standing] = frozenset({"running", "child"})


@dataclass(frozen=True, slots=True)
class Open:
    """A step that has begun and not ended, in one of its phases.

    attempt: the one that runs or is next. at: when it times out, or what is waited for is due; None: never. failures,
    losses: of this phase's attempts. uncertain: one of them may have been applied although no success is known.
    remote: no process of ours runs it. carry: what the last attempt left to the next one. error: of the last one that
    failed.
    """

    step: str
    phase: Phase
    standing: Standing
    attempt: int = 1
    at: datetime | None = None
    failures: int = 0
    losses: int = 0
    uncertain: bool = False
    remote: bool = False
    deadline_at: datetime | None = None
    signal: str | None = None
    carry: JsonValue = None
    error: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether something may still come of it that cannot be taken back."""
        return self.standing in _ACTIVE

    def but(self, **changes: Any) -> Open:
        return Open(**{name: getattr(self, name) for name in _OPEN_FIELDS} | changes)


@dataclass(frozen=True, slots=True)
class Signal:
    """One that no step has taken yet."""

    name: str
    payload: JsonValue = None


@dataclass(frozen=True, slots=True)
class Parent:
    saga_id: str
    run: int
    step: str


@dataclass(frozen=True)
class SagaState:
    """The newest run of one saga.

    sequence: of the last event, 0 before the first. results: of the completed steps, in the order of completion;
    those of a step's items until the step itself is done. skipped: steps that were not wanted. prepared: what the
    preparation of a step said. items: what a step is done for, one by one. uncertain: steps that ended without a
    known success, but may have been applied. failing: nothing more begins. to_undo: what is left to compensate, next
    first. left_behind: what an operator told not to undo. resumes: the status before a suspension. children: steps
    that asked for one. held: it waits for the end of a pause, at that place. reprocess: the command that asked for
    the run. erasure_key: the data key of its payload in the log. declared: steps that a function asked for, as the
    contract's JSON. told: their names, in the order in which they were asked for and then answered. signal_ids: those
    seen last.
    """

    saga_id: str
    run: int = 1
    sequence: int = 0
    status: Status = "NEW"
    name: str = ""
    version: int = 0
    definition_hash: str = ""
    source: str = ""
    event_id: str = ""
    correlation_id: str = ""
    user_id: str | None = None
    notify_url: str | None = None
    traceparent: str | None = None
    context: Mapping[str, JsonValue] = field(default_factory=dict)
    results: Mapping[str, JsonValue] = field(default_factory=dict)
    open: Mapping[str, Open] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    prepared: Mapping[str, JsonValue] = field(default_factory=dict)
    items: Mapping[str, tuple[JsonValue, ...]] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    failing: bool = False
    to_undo: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    failed_step: str | None = None
    error: str | None = None
    reason: str | None = None
    cause: str | None = None
    resumes: Status | None = None
    deadline_at: datetime | None = None
    limit_key: str | None = None
    held: int | None = None
    reprocess: str | None = None
    erasure_key: str | None = None
    parent: Parent | None = None
    children: tuple[str, ...] = ()
    signals: tuple[Signal, ...] = ()
    signal_ids: tuple[str, ...] = ()
    declared: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    @property
    def wish(self) -> str:
        """As `StartSaga.wish`: of what started the run."""
        return self.reprocess or self.event_id

    @classmethod
    def new(cls, saga_id: str, run: int) -> SagaState:
        """A saga that nothing is known of. (As the constructor, in a tenth of its time.)"""
        return _made({"saga_id": saga_id, "run": run})

    def then(self, **changes: Any) -> SagaState:
        """The state one event later. (`dataclasses.replace` takes ten times as long, and this runs for every
        event of every saga.)"""
        return _made({**self.__dict__, **changes, "sequence": self.sequence + 1})

    def with_open(self, opened: Open) -> Mapping[str, Open]:
        return {**self.open, opened.step: opened}

    def without_open(self, step: str) -> Mapping[str, Open]:
        if len(self.open) == 1 and step in self.open:
            return {}
        return {name: each for name, each in self.open.items() if name != step}

    def is_done(self, step: str) -> bool:
        return step in self.results or step in self.skipped

    def result_of(self, step: str) -> JsonValue:
        """Of a step or of one item of it; None where there is none."""
        base, index = item_of(step)
        gathered = self.results.get(base)
        if index is not None and isinstance(gathered, list):
            return gathered[index] if index < len(gathered) else None
        return self.results.get(step)

    def to_json(self) -> bytes:
        """The snapshot in `saga.state`, without what is as it is in a new saga."""
        said = {name: value for name, value in self.__dict__.items() if value}
        # An empty text is not None: a saga that was called off has the failed step "".
        for name in _OPTIONAL_TEXTS:
            if self.__dict__.get(name) == "":
                said[name] = ""
        return dumps(said)

    @classmethod
    def from_json(cls, data: bytes) -> SagaState:
        # A field that a newer version added is passed over, so that a deployment can be taken back.
        found: dict[str, Any] = {name: value for name, value in loads(data).items() if name in _FIELDS}
        for name in _TUPLES & found.keys():
            found[name] = tuple(found[name])
        if "open" in found:
            found["open"] = {name: _open(each) for name, each in found["open"].items()}
        if "items" in found:
            found["items"] = {name: tuple(each) for name, each in found["items"].items()}
        if "signals" in found:
            found["signals"] = tuple(Signal(**each) for each in found["signals"])
        if "parent" in found:
            found["parent"] = Parent(**found["parent"])
        if "deadline_at" in found:
            found["deadline_at"] = datetime.fromisoformat(found["deadline_at"])
        return _made(found)


def _made(fields: dict[str, Any]) -> SagaState:
    """Of those fields; each other one is the class's own attribute, its default. So what runs for every event of every
    saga, and for each of a hundred thousand snapshots, copies and encodes only what a saga has."""
    state = _new(SagaState)
    _set(state, "__dict__", fields)
    return state


def item_name(step: str, index: int) -> str:
    """The step that an item of a step is."""
    return f"{step}[{index}]"


def item_of(name: str) -> tuple[str, int | None]:
    """The step, and which of its items; None where the name is a step's own."""
    base, bracket, rest = name.partition("[")
    number = rest.removesuffix("]")
    return (base, int(number)) if bracket and number.isdecimal() else (name, None)


def _open(data: dict[str, Any]) -> Open:
    for moment in ("at", "deadline_at"):
        if data.get(moment) is not None:
            data[moment] = datetime.fromisoformat(data[moment])
    return Open(**{name: value for name, value in data.items() if name in _OPEN_FIELDS})


for _each in dataclass_fields(SagaState):
    if _each.default_factory is not MISSING:
        setattr(SagaState, _each.name, _each.default_factory())
_FIELDS = frozenset(each.name for each in dataclass_fields(SagaState))
_OPTIONAL_TEXTS = tuple(each.name for each in dataclass_fields(SagaState) if each.type == "str | None")
_OPEN_FIELDS = tuple(each.name for each in dataclass_fields(Open))
_TUPLES = frozenset({"skipped", "uncertain", "to_undo", "left_behind", "children", "signal_ids", "told"})
