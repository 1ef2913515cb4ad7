"""What the engine can be told about a saga. Each is a fact or a wish from outside; `decide` says what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.identity import Phase


@dataclass(frozen=True, slots=True)
class Start:
    request: StartSaga


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


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """The attempt will have no outcome: see `StepAttemptLost`."""

    run: int
    step: str
    phase: Phase
    attempt: int
    reason: Literal["crash", "stopped", "never_begun"]


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The timer of the attempt with that number has come."""

    run: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Park:
    """The engine cannot carry the saga on, and says why."""

    reason: str


Attempt = AttemptSucceeded | AttemptFailed | AttemptLost
Command = Start | Attempt | RetryDue | Park
