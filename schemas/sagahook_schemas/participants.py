"""Steps that other systems do over Kafka: what they are asked, and what they answer.

Requests are on `saga.steps.<participant>`, keyed by saga id. Replies go to `saga.replies`, under any key and onto any
partition. A reply may be no more than a JSON value: the five fields that name the attempt, as they stand in the
request, and `result` or `error`; headers are needed by nobody but those who trace.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sagahook_schemas.base import AwareDatetime, Contract, JsonValue

AskedPhase = Literal["action", "compensation"]
Seconds = Annotated[float, Field(ge=0, le=365 * 86_400)]


class ParticipantRequested(Contract):
    """One attempt of one step. To be done once for each idempotency_key, however often it is asked for; later attempts
    are answered too, each under its own number.

    action_key: the key of the step's action; whoever is asked for a compensation first must refuse that action should
    it come later. data: what the saga's author hands over. result: a compensation's, of its action; None too where the
    action's outcome is unknown: undoing what was never done must succeed. times_out_at: no reply counts after it.
    """

    ce_type: ClassVar[str] = "sagahook.participant.requested.v1"

    saga: str
    saga_id: str
    run: int
    step: str
    phase: AskedPhase
    attempt: int
    idempotency_key: str
    action_key: str
    data: JsonValue = None
    result: JsonValue = None
    times_out_at: AwareDatetime


class ParticipantReplied(Contract):
    """The outcome of an attempt. `error` None: it succeeded with `result`, at most 256 KiB as JSON; an empty text is
    refused, because it could mean either.

    saga_id: may be left out where the header `ce_sagaid` has it. retryable: whether a further attempt can succeed.
    unknown: the effect may have been applied all the same. retry_after: seconds that the next attempt has to wait at
    least.
    """

    ce_type: ClassVar[str] = "sagahook.participant.replied.v1"

    saga_id: str | None = None
    run: int = Field(ge=1)
    step: str = Field(max_length=256)
    phase: AskedPhase
    attempt: int = Field(ge=1)
    result: JsonValue = None
    error: str | None = Field(default=None, min_length=1)
    retryable: bool = True
    unknown: bool = False
    retry_after: Seconds | None = None
    duration_ms: int = Field(default=0, ge=0)
