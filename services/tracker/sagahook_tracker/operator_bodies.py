"""The bodies of the operator routes (api.md §5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints

from sagahook_schemas.base import AwareDatetime, Contract
from sagahook_schemas.commands import (
    CancelSaga,
    MigrateSaga,
    ResolveCompensation,
    RetrySaga,
    SignalSaga,
)
from sagahook_tracker.domain.operating import Filter
from sagahook_tracker.domain.runs import Run, State

How = Literal["retry", "skip", "resolve"]

PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What a log line, a header and a terminal can show as it is; written so that every dialect of patterns reads it."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PLAIN)]
_DATE = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)


def _written(given: Any) -> Any:
    """A number is no time here: nobody would know of what, and since when."""
    if isinstance(given, datetime) or (isinstance(given, str) and _DATE.match(given)):
        return given
    raise ValueError("must be a time as in RFC 3339, such as 2026-03-01T12:00:00Z")


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_written),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC)),
]
"""One that PostgreSQL can hold in UTC too."""
Words = Annotated[str, StringConstraints(max_length=1_000, pattern=PLAIN)]


class OperatorBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    actor: Word = Field(description="who asks")
    reason: Words = Field(default="", description="why, in their words")


class SignalBody(OperatorBody):
    signal_id: Word | None = Field(
        default=None, description="a signal whose id was seen is a duplicate; by default the command's id"
    )
    payload: JsonValue = Field(default=None, description="what the step that waits for it is given")


class MigrateBody(OperatorBody):
    version: int = Field(ge=1, le=2**31)


class FilterBody(BaseModel):
    """Each saga counts by its newest run."""

    model_config = ConfigDict(extra="forbid")

    state: State | list[State] | None = None
    name: Word | None = None
    version: int | None = Field(default=None, ge=1, le=2**31)
    cause: Word | None = Field(default=None, description="why it is suspended")
    attributes: dict[str, JsonValue] | None = Field(default=None, description="all of them, as they are")
    source: Word | None = None
    started_before: Time | None = None
    started_after: Time | None = None

    def filter(self) -> Filter:
        states = () if self.state is None else (self.state,) if isinstance(self.state, str) else self.state
        return Filter(
            states=tuple(states),
            name=self.name,
            version=self.version,
            cause=self.cause,
            source=self.source,
            attributes=() if self.attributes is None else (self.attributes,),
            started_before=self.started_before,
            started_after=self.started_after,
        )


BulkAction = Literal[
    "cancel",
    "retry",
    "signal",
    "migrate",
    "retry_compensation",
    "skip_compensation",
    "resolve_compensation",
]


class BulkBody(OperatorBody):
    action: BulkAction
    filter: FilterBody
    confirm: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        description="the preview's count: it acts only where that still holds",
    )
    signal: Word | None = Field(default=None, description="its name, for `signal`")
    payload: JsonValue = Field(default=None, description="for `signal`")
    version: int | None = Field(default=None, ge=1, le=2**31, description="for `migrate`")
    step: Word | None = Field(
        default=None, description="for compensations: this step's; by default each that is unresolved"
    )

    def lacking(self) -> str | None:
        """What the action needs and was not given."""
        if not self.filter.model_fields_set:
            return "filter: say which sagas; an empty filter would be all of them"
        if self.action == "signal" and self.signal is None:
            return "signal: say which"
        if self.action == "migrate" and self.version is None:
            return "version: say to which"
        return None

    def commands(self, run: Run) -> Sequence[Contract]:
        """Those for one run. A signal gets its id later."""
        by = {"actor": self.actor, "reason": self.reason}
        match self.action:
            case "cancel":
                return [CancelSaga(**by)]
            case "retry":
                return [RetrySaga(**by)]
            case "signal":
                return [SignalSaga(**by, signal=self.signal or "", signal_id="", payload=self.payload)]
            case "migrate":
                return [MigrateSaga(**by, version=self.version or 1)]
        how: dict[str, How] = {
            "retry_compensation": "retry",
            "skip_compensation": "skip",
            "resolve_compensation": "resolve",
        }
        steps = run.unresolved if self.step is None else (self.step,)
        return [ResolveCompensation(**by, step=step, how=how[self.action]) for step in steps]


class CommandAccepted(BaseModel):
    command_id: str = Field(description="it stands in the events that the command causes")
    saga_id: str


class BulkAnswer(BaseModel):
    count: int = Field(description="the sagas that the act reaches")
    sample: list[str] = Field(description="the ids of up to ten of them")
    bulk_id: str | None = Field(description="once it was confirmed: what its commands' ids begin with")
