"""The saga log: what happened to a saga as a whole."""

from __future__ import annotations

from typing import ClassVar

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.identity import Phase


class SagaStarted(Contract):
    """A run began. `context` is what the trigger's handler made of the webhook, at most 256 KiB as JSON."""

    ce_type: ClassVar[str] = "sagahook.saga.started.v1"

    name: str
    version: int
    definition_hash: str
    source: str
    event_id: str
    correlation_id: str
    context: dict[str, JsonValue]
    total_steps: int
    user_id: str | None = None
    notify_url: str | None = None


class SagaJoined(Contract):
    """A further webhook asked for a saga that exists (also a finished one): it is not run again."""

    ce_type: ClassVar[str] = "sagahook.saga.joined.v1"

    name: str
    source: str
    event_id: str
    correlation_id: str
    state: str
    notify_url: str | None = None


class SagaCompensating(Contract):
    """A step failed for good: from here on the saga undoes what it did. `steps` in the order of undoing."""

    ce_type: ClassVar[str] = "sagahook.saga.compensating.v1"

    failed_step: str
    error: str
    steps: tuple[str, ...]


class SagaCompleted(Contract):
    ce_type: ClassVar[str] = "sagahook.saga.completed.v1"

    name: str


class SagaRolledBack(Contract):
    """Everything that was done is undone; `error` is the failed step's."""

    ce_type: ClassVar[str] = "sagahook.saga.rolled_back.v1"

    name: str
    failed_step: str
    error: str


class SagaFailed(Contract):
    """A compensation failed for good. `unresolved`: the steps whose effects are left behind, in the order in
    which they would have been undone. An operator must act."""

    ce_type: ClassVar[str] = "sagahook.saga.failed.v1"

    name: str
    failed_step: str
    error: str
    unresolved: tuple[str, ...]


class SagaSuspended(Contract):
    """The engine cannot go on by itself; nothing is lost and the saga can be resumed."""

    ce_type: ClassVar[str] = "sagahook.saga.suspended.v1"

    reason: str


class AttemptInFlight(Contract):
    """An attempt that was still running when its owner let go of the partition."""

    saga_id: str
    run: int
    step: str
    phase: Phase
    attempt: int


class OwnerAcquired(Contract):
    """A runner took over a partition, under a new epoch. Key: `owner/<partition>`. in_flight: attempts that
    earlier owners promised to tell of, and that were not told of yet."""

    ce_type: ClassVar[str] = "sagahook.owner.acquired.v1"

    partition: int
    epoch: int
    instance: str
    in_flight: tuple[AttemptInFlight, ...] = ()


class OwnerReleased(Contract):
    """A runner let go of a partition cleanly. The results of `in_flight` will come as `complete-step`
    commands: the next owner waits for them before it calls those attempts lost."""

    ce_type: ClassVar[str] = "sagahook.owner.released.v1"

    partition: int
    epoch: int
    in_flight: tuple[AttemptInFlight, ...] = ()
