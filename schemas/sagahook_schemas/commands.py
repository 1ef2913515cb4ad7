"""What a partition owner may be asked to do: `saga.commands`, keyed by saga id."""

from __future__ import annotations

from typing import ClassVar

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.identity import Phase


class StartSaga(Contract):
    """Start the saga, or join it where it exists. Only the owner knows which."""

    ce_type: ClassVar[str] = "sagahook.command.start.v1"

    name: str
    version: int
    source: str
    event_id: str
    correlation_id: str
    context: dict[str, JsonValue]
    user_id: str | None = None
    notify_url: str | None = None


class CompleteStep(Contract):
    """The outcome of an attempt, from a runner that no longer owns the saga's partition. `error` None: it
    succeeded with `result`."""

    ce_type: ClassVar[str] = "sagahook.command.complete_step.v1"

    run: int
    step: str
    phase: Phase
    attempt: int
    result: JsonValue = None
    error: str | None = None
    retryable: bool = True
    unknown: bool = False
    duration_ms: int = 0
