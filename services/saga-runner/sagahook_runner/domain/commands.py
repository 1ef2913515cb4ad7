"""What the engine can be told about a saga. Each is a fact or a wish from outside; `decide` says what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
    StartSaga,
)
from sagahook_schemas.definitions import StepDefinition
from sagahook_schemas.identity import Phase

ANY_ATTEMPT = 0
"""As an attempt's number: a child does not know which of its parent's attempts it answers."""


@dataclass(frozen=True, slots=True)
class Start:
    """held: the place that the saga gets among those that are held, where what it belongs to is paused."""

    request: StartSaga
    held: int | None = None


@dataclass(frozen=True, slots=True)
class LetGo:
    """What held the saga is paused no more. actor, reason: of the operator who ended it."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    run: int
    step: str
    phase: Phase
    attempt: int
    result: JsonValue
    duration_ms: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """error: `Type: message`. retryable: whether a further attempt makes sense at all. unknown: the effect may
    have been applied all the same. dice: uniform in [0, 1), for the retry's jitter."""

    run: int
    step: str
    phase: Phase
    attempt: int
    error: str
    retryable: bool
    unknown: bool
    duration_ms: int
    dice: float
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptContinued:
    """The action asks to be called again after so many seconds."""

    run: int
    step: str
    phase: Phase
    attempt: int
    after: float
    carry: JsonValue


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """The attempt will have no outcome: see `StepAttemptLost`."""

    run: int
    step: str
    phase: Phase
    attempt: int
    reason: Literal["crash", "stopped", "never_begun"]


@dataclass(frozen=True, slots=True)
class StepDue:
    """The time has come that the step waits for in that attempt."""

    run: int
    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DeadlineDue:
    run: int


@dataclass(frozen=True, slots=True)
class Park:
    """The engine cannot carry the saga on, and says why."""

    reason: str
    cause: Literal["definition", "order", "erased"] = "definition"


@dataclass(frozen=True, slots=True)
class Unpark:
    """What a parked saga lacked is deployed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    run: int
    progress: float
    message: str


@dataclass(frozen=True, slots=True)
class Admit:
    """The saga's turn has come."""

    run: int
    limit_key: str


@dataclass(frozen=True, slots=True)
class Undo:
    """The parent's step is undone, or no longer wanted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """The parent is final."""


@dataclass(frozen=True, slots=True)
class RequestStep:
    """A function asks for its step with that number. value: what a preparation would say (see `StepDefinition`)."""

    run: int
    number: int
    definition: StepDefinition
    value: JsonValue = None


@dataclass(frozen=True, slots=True)
class FunctionEnded:
    """error None: it returned `result`."""

    run: int
    result: JsonValue
    error: str | None


Request = CancelSaga | RetrySaga | ResolveCompensation | SignalSaga | MigrateSaga


@dataclass(frozen=True, slots=True)
class Operate:
    request: Request
    command_id: str


Attempt = AttemptSucceeded | AttemptFailed | AttemptLost | AttemptContinued
Command = (
    Start
    | Attempt
    | StepDue
    | DeadlineDue
    | LetGo
    | Park
    | Unpark
    | Progress
    | Admit
    | Undo
    | Release
    | RequestStep
    | FunctionEnded
    | Operate
)
