"""The saga log: what happened to a saga as a whole."""

from __future__ import annotations

from typing import ClassVar, Literal

from sagahook_schemas.base import AwareDatetime, Contract, JsonValue
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.identity import Phase


class SagaStarted(Contract):
    """A run began. `context` is what the trigger's handler made of the webhook, at most 256 KiB as JSON.

    limit_key: it is pending until `saga.admitted`. deadline_at: when the run is given up. actor, reason: of the
    operator who asked for this run; None where a webhook or a parent did. held: its definition or its source was
    paused: it is pending until `saga.let_go`, and only then asks for its slot; the number is its place among what its
    partition holds. reprocess: the command by which the webhook was routed again. erasure_key: the
    data key under which the saga's payload is kept.
    """

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
    limit_key: str | None = None
    attributes: dict[str, JsonValue] | None = None
    deadline_at: AwareDatetime | None = None
    parent: ParentStep | None = None
    traceparent: str | None = None
    actor: str | None = None
    reason: str | None = None
    held: int | None = None
    reprocess: str | None = None
    erasure_key: str | None = None


class SagaLetGo(Contract):
    """A run that was held goes on as if it had started now. actor, reason: of the operator who ended the pause."""

    ce_type: ClassVar[str] = "sagahook.saga.let_go.v1"

    actor: str
    reason: str = ""


class SagaAdmitted(Contract):
    """The run got the slot that it waited for."""

    ce_type: ClassVar[str] = "sagahook.saga.admitted.v1"

    limit_key: str


class SagaJoined(Contract):
    """A further webhook asked for a saga that exists (also a finished one): it is not run again."""

    ce_type: ClassVar[str] = "sagahook.saga.joined.v1"

    name: str
    source: str
    event_id: str
    correlation_id: str
    state: str
    notify_url: str | None = None


class SagaFailing(Contract):
    """A step failed for good, or the run was called off (failed_step ""), while other attempts were under way: nothing
    more begins, and when those have ended the saga undoes what it did."""

    ce_type: ClassVar[str] = "sagahook.saga.failing.v1"

    failed_step: str
    error: str


class SagaCompensating(Contract):
    """A step failed for good, or the run was called off (failed_step ""): from here on the saga undoes what it did.
    `steps` in the order of undoing."""

    ce_type: ClassVar[str] = "sagahook.saga.compensating.v1"

    failed_step: str
    error: str
    steps: tuple[str, ...]


class SagaCompleted(Contract):
    """result: what a parent is told, or a function returned."""

    ce_type: ClassVar[str] = "sagahook.saga.completed.v1"

    name: str
    result: JsonValue = None


class SagaRolledBack(Contract):
    """Everything that was done is undone; `error` is the failed step's."""

    ce_type: ClassVar[str] = "sagahook.saga.rolled_back.v1"

    name: str
    failed_step: str
    error: str


class SagaFailed(Contract):
    """A compensation failed for good, or was skipped. `unresolved`: the steps whose effects are left behind, in the
    order in which they would have been undone. An operator must act."""

    ce_type: ClassVar[str] = "sagahook.saga.failed.v1"

    name: str
    failed_step: str
    error: str
    unresolved: tuple[str, ...]


class SagaSuspended(Contract):
    """The engine cannot go on by itself; nothing is lost and the saga can be resumed. cause: `definition`, nothing
    that is deployed carries it on; `losses`, a step kills its process; `forward`, a step past the pivot failed for
    good, or the pivot's own outcome is unknown; `order`, a function asked for other steps than the log remembers;
    `engine`, an event that cannot follow; `erased`, the key of its payload is gone."""

    ce_type: ClassVar[str] = "sagahook.saga.suspended.v1"

    reason: str
    cause: Literal["definition", "losses", "forward", "order", "engine", "erased"] | None = None


class SagaResumed(Contract):
    """A suspended saga goes on where it was. actor: `sagahook` where the missing definition was deployed."""

    ce_type: ClassVar[str] = "sagahook.saga.resumed.v1"

    actor: str
    reason: str = ""
    command_id: str | None = None


class SagaCancelled(Contract):
    """An operator called the run off."""

    ce_type: ClassVar[str] = "sagahook.saga.cancelled.v1"

    actor: str
    reason: str = ""
    command_id: str | None = None


class SagaSignalled(Contract):
    """The run was told something. The first step that waits for it takes it."""

    ce_type: ClassVar[str] = "sagahook.saga.signalled.v1"

    signal: str
    signal_id: str
    actor: str
    reason: str = ""
    payload: JsonValue = None
    command_id: str | None = None


class SagaMigrated(Contract):
    """The run goes on under another definition."""

    ce_type: ClassVar[str] = "sagahook.saga.migrated.v1"

    version: int
    definition_hash: str
    actor: str
    reason: str = ""
    command_id: str | None = None


class SagaProgressed(Contract):
    """How far an action says that the saga is. progress: 0 to 1."""

    ce_type: ClassVar[str] = "sagahook.saga.progressed.v1"

    progress: float
    message: str = ""


class SagaReleased(Contract):
    """The child's parent is final: it cannot be undone any more."""

    ce_type: ClassVar[str] = "sagahook.saga.released.v1"


class CommandRefused(Contract):
    """What an operator asked for could not be done, and changed nothing. command: its CloudEvents type."""

    ce_type: ClassVar[str] = "sagahook.saga.command_refused.v1"

    command: str
    actor: str
    reason: str
    why: str
    command_id: str | None = None


class SlotRequested(Contract):
    """A limit's log (key: the limit key): a run waits for its turn. ticket: counts the limit's requests from 1; slots
    are granted in its order."""

    ce_type: ClassVar[str] = "sagahook.limit.slot_requested.v1"

    saga_id: str
    run: int
    name: str
    ticket: int


class SlotGranted(Contract):
    """in_use: slots after it. allowed: the limit that held then; None: no limit on how many at once. full_at: when the
    whole burst of the rate limit is there again; None: no rate limit."""

    ce_type: ClassVar[str] = "sagahook.limit.slot_granted.v1"

    saga_id: str
    run: int
    ticket: int
    in_use: int
    allowed: int | None = None
    full_at: AwareDatetime | None = None


class SlotReleased(Contract):
    """A run gave its slot back, or waits for one no more."""

    ce_type: ClassVar[str] = "sagahook.limit.slot_released.v1"

    saga_id: str
    run: int
    ticket: int
    in_use: int


class AttemptInFlight(Contract):
    """An attempt that was still running when its owner let go of the partition."""

    saga_id: str
    run: int
    step: str
    phase: Phase
    attempt: int


class OwnerAcquired(Contract):
    """A runner took over a partition, under a new epoch. Key: `owner/<partition>`. in_flight: attempts that earlier
    owners promised to tell of, and that were not told of yet. first_run: what the next saga that is not remembered
    begins with; higher than every run that was forgotten."""

    ce_type: ClassVar[str] = "sagahook.owner.acquired.v1"

    partition: int
    epoch: int
    instance: str
    first_run: int = 1
    in_flight: tuple[AttemptInFlight, ...] = ()


class OwnerReleased(Contract):
    """A runner let go of a partition cleanly. The results of `in_flight` will come as `complete-step`
    commands: the next owner waits for them before it calls those attempts lost."""

    ce_type: ClassVar[str] = "sagahook.owner.released.v1"

    partition: int
    epoch: int
    in_flight: tuple[AttemptInFlight, ...] = ()
