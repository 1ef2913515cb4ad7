"""A saga as its log tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import Any, Literal

from orjson import dumps, loads

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase

Status = Literal["NEW", "EXECUTING", "COMPENSATING", "COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"]

FINAL: frozenset[Status] = frozenset({"COMPLETED", "ROLLED_BACK", "FAILED"})


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt whose outcome the saga waits for."""

    step: str
    phase: Phase
    attempt: int
    times_out_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attempt that is to be made at `due_at`, the saga's durable timer."""

    step: str
    phase: Phase
    attempt: int
    due_at: datetime


@dataclass(frozen=True)
class SagaState:
    """The newest run of one saga.

    sequence: of the last event, 0 before the first. results: of the completed steps, in the order of
    completion. to_undo: what is left to compensate, next first. failures, losses: of the current step's
    attempts in the current phase. uncertain: an attempt of the current action may have been applied although
    no success of it is known. reason: why the saga is suspended.
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
    context: Mapping[str, JsonValue] = field(default_factory=dict)
    results: Mapping[str, JsonValue] = field(default_factory=dict)
    current: Running | Waiting | None = None
    failures: int = 0
    losses: int = 0
    uncertain: bool = False
    to_undo: tuple[str, ...] = ()
    failed_step: str | None = None
    error: str | None = None
    reason: str | None = None

    def then(self, **changes: Any) -> SagaState:
        """The state one event later. (`dataclasses.replace` takes five times as long, and this runs for every
        event of every saga.)"""
        after = object.__new__(SagaState)
        after.__dict__.update(self.__dict__, sequence=self.sequence + 1, **changes)
        return after

    def to_json(self) -> bytes:
        """The snapshot in `saga.state`."""
        return dumps(self)

    @classmethod
    def from_json(cls, data: bytes) -> SagaState:
        # A field that a newer version added is passed over, so that a deployment can be taken back.
        fields: dict[str, Any] = {name: value for name, value in loads(data).items() if name in _FIELDS}
        fields["to_undo"] = tuple(fields["to_undo"])
        current = fields["current"]
        if current is not None:
            timed: type[Running] | type[Waiting] = Waiting if "due_at" in current else Running
            moment = "due_at" if timed is Waiting else "times_out_at"
            current[moment] = datetime.fromisoformat(current[moment])
            fields["current"] = timed(**current)
        return cls(**fields)


_FIELDS = frozenset(each.name for each in dataclass_fields(SagaState))
