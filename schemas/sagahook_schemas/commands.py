"""What a partition owner may be asked to do: `saga.commands`, keyed by saga id (slots: by limit key); and a router:
`webhooks.commands`, keyed by event id.

The CloudEvents id of an operator's command is the command's id: it stands in the events that it causes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.identity import Phase


class ParentStep(Contract):
    """The step of another saga that a child is run by."""

    saga_id: str
    run: int
    step: str


class StartSaga(Contract):
    """Start the saga, or join it where it exists. Only the owner knows which.

    limit_key: the saga waits until the owner of that key grants it a slot. again: a finished saga is run once more
    (a reprocessed webhook), instead of joined. reprocess: the command that asked for it. erasure_key: the data key
    under which the saga's payload is to be kept.
    """

    ce_type: ClassVar[str] = "sagahook.command.start.v1"

    name: str
    version: int
    source: str
    event_id: str
    correlation_id: str
    context: dict[str, JsonValue]
    user_id: str | None = None
    notify_url: str | None = None
    limit_key: str | None = None
    attributes: dict[str, JsonValue] | None = None
    parent: ParentStep | None = None
    again: bool = False
    reprocess: str | None = None
    erasure_key: str | None = None
    traceparent: str | None = None

    @property
    def wish(self) -> str:
        """What stays the same when the same start is asked for twice."""
        return self.reprocess or self.event_id


class CompleteStep(Contract):
    """The outcome of an attempt that was not made where the saga's owner is: by a runner that owned the partition
    before, by a participant, by a child. `error` None: it succeeded with `result`. retry_after: seconds that the
    next attempt has to wait at least. continue_after: it is neither done nor failed, but to be called again after
    so many seconds, with `result` carried over. attempt 0: a child's answer, whichever attempt its parent waits
    for."""

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
    retry_after: float | None = None
    continue_after: float | None = None


class _Operators(Contract):
    """actor: who asks. reason: why, in their words."""

    actor: str
    reason: str = ""


class CancelSaga(_Operators):
    """Undo what was done. Refused past a pivot and when the saga is final."""

    ce_type: ClassVar[str] = "sagahook.command.cancel.v1"


class RetrySaga(_Operators):
    """Go on with a suspended saga; run one that was rolled back or failed again, as a new run."""

    ce_type: ClassVar[str] = "sagahook.command.retry.v1"


class ResolveCompensation(_Operators):
    """What becomes of a compensation that failed for good. `retry`: try it again; `skip`: leave the step's effect
    behind; `resolve`: it was undone by hand."""

    ce_type: ClassVar[str] = "sagahook.command.resolve_compensation.v1"

    step: str
    how: Literal["retry", "skip", "resolve"]


class SignalSaga(_Operators):
    """Tell the saga something that one of its steps waits for, or will. A signal id that was seen is a duplicate."""

    ce_type: ClassVar[str] = "sagahook.command.signal.v1"

    signal: str
    signal_id: str
    payload: JsonValue = None


class MigrateSaga(_Operators):
    """Go on under another version of the definition. Refused where the run's history does not replay under it."""

    ce_type: ClassVar[str] = "sagahook.command.migrate.v1"

    version: int = Field(ge=1)


class ReprocessWebhook(_Operators):
    """Route a webhook again: its triggers are asked anew, and each saga that it asks for is run once more. The record's
    key is the event id, its partition that of the webhook. offset: where the webhook lies in `webhooks.received`."""

    ce_type: ClassVar[str] = "sagahook.command.reprocess.v1"

    event_id: str
    offset: int = Field(ge=0)


class UndoChild(Contract):
    """From a parent: the step that ran this child is undone, or no longer wanted."""

    ce_type: ClassVar[str] = "sagahook.command.undo_child.v1"

    parent: ParentStep
    reason: str


class ReleaseChild(Contract):
    """From a parent that is final: the child need not be undoable any more."""

    ce_type: ClassVar[str] = "sagahook.command.release_child.v1"

    parent: ParentStep


class RequestSlot(Contract):
    """To a limit's owner: the run of `name` waits for its turn."""

    ce_type: ClassVar[str] = "sagahook.command.request_slot.v1"

    saga_id: str
    run: int
    name: str


class ReleaseSlot(Contract):
    """To a limit's owner: the run has ended, or waits no more."""

    ce_type: ClassVar[str] = "sagahook.command.release_slot.v1"

    saga_id: str
    run: int


class GrantSlot(Contract):
    """From a limit's owner to a run that waits for it."""

    ce_type: ClassVar[str] = "sagahook.command.grant_slot.v1"

    run: int
    limit_key: str
