"""What is deployed: a saga's triggers and steps, as data."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sagahook_schemas.base import AwareDatetime, Contract

Seconds = Annotated[float, Field(gt=0, le=365 * 86_400)]
"""At most a year: a date can be reckoned with it, and infinity, which JSON cannot hold, is refused."""

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""As it stands in `/webhooks/{source}` and in every identity made from it."""


class Retry(Contract):
    """When a failed attempt is tried again.

    max: retries after the first attempt. initial, cap: seconds. The delay before retry n (from 1) is
    `initial * factor ** (n - 1)`, at most `cap`, moved by up to ± `jitter` of itself. `non_retryable` names
    exception classes that end the step at once.
    """

    max: int = Field(default=3, ge=0)
    initial: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    factor: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    cap: Seconds = 300.0
    jitter: float = Field(default=0.1, ge=0, le=1)
    non_retryable: tuple[str, ...] = ()

    def delay(self, failures: int, dice: float) -> timedelta | None:
        """How long to wait after the given number of failures, from 1; None when the retries are used up.

        dice: uniform in [0, 1).
        """
        if failures > self.max:
            return None
        try:
            base = min(self.cap, self.initial * self.factor ** (failures - 1))
        except OverflowError:  # the power is beyond a float, and so beyond the cap
            base = self.cap if self.initial else 0.0
        return timedelta(seconds=base * (1 + self.jitter * (2 * dice - 1)))


Kind = Literal["quick", "file", "network"]
"""What an action mostly does: it chooses the time-out where the step says none, and the cap that it counts against."""

TIMEOUTS: dict[Kind, float] = {"quick": 10.0, "file": 15.0, "network": 30.0}
"""Seconds for each attempt."""

Does = Literal["action", "sleep", "signal", "child", "each", "participant"]


class RateLimit(Contract):
    """So many starts in each period, evenly refilled; a burst of `count` is let through. per: seconds."""

    count: int = Field(ge=1)
    per: Seconds


class TriggerDefinition(Contract):
    """Which webhooks start the saga.

    event None: any event of the source. idempotency_key: a dotted path into the body, whose value must be present;
    with `more_keys`, all of them together identify. keyed_by_code: a function of the author's makes the identity.
    Without any, every webhook starts a saga of its own. max_concurrent, rate_limit: for all replicas together, and for
    each value at `concurrency_key` by itself, where one is given.
    """

    source: SourceName
    event: str | None = None
    idempotency_key: str | None = None
    more_keys: tuple[str, ...] = ()
    keyed_by_code: bool = False
    max_concurrent: int | None = Field(default=None, ge=1)
    concurrency_key: str | None = None
    rate_limit: RateLimit | None = None

    @property
    def identifying(self) -> tuple[str, ...]:
        """The paths whose values must be in the body."""
        return () if self.idempotency_key is None else (self.idempotency_key, *self.more_keys)

    def wants(self, source: str, event_type: str) -> bool:
        return self.source == source and self.event in (None, event_type)


class CompensationDefinition(Contract):
    """timeout: for each attempt."""

    timeout: Seconds
    retry: Retry


class StepDefinition(Contract):
    """One step.

    timeout: for each attempt. compensation None: nothing to undo. after None: after the step written before it.
    heartbeat: an attempt that gives no sign of life for so long is given up. deadline: seconds from the first
    attempt's start to the end of the last. prepares: code of the author's runs first, and what it says is logged:
    whether the step is wanted at all, how long to sleep, which items, the child's context, the participant's data.
    pivot: past it nothing is compensated.

    does: `action`, the saga's own code; `sleep`, wait for `seconds` or as long as the preparation said; `signal`,
    wait for the signal of that name, for `patience` seconds; `child`, the saga `child` is run; `each`, the action
    is run for each item that the preparation gave, `concurrency` of them at once; `participant`, another system
    does it over Kafka.
    """

    name: str
    timeout: Seconds
    retry: Retry
    compensation: CompensationDefinition | None = None
    kind: Kind = "network"
    does: Does = "action"
    after: tuple[str, ...] | None = None
    prepares: bool = False
    pivot: bool = False
    heartbeat: Seconds | None = None
    deadline: Seconds | None = None
    seconds: float | None = Field(default=None, ge=0, le=10 * 365 * 86_400)
    signal: str | None = None
    patience: Seconds | None = None
    on_timeout: Literal["fail", "continue"] = "fail"
    child: str | None = None
    concurrency: int | None = Field(default=None, ge=1)
    participant: str | None = None

    @property
    def undoable(self) -> bool:
        """A child is undone by its own compensations."""
        return self.compensation is not None or self.does == "child"


class SagaDefinition(Contract):
    """One version of a saga. Steps run in the order that `after` gives; compensations in its reverse, those of one
    level one after the other or at once. deadline: seconds for the whole run. attributes: names to search by, each
    with a dotted path into the context. code: the steps are not known beforehand, a function asks for them.
    """

    ce_type: ClassVar[str] = "sagahook.definition.deployed.v1"

    name: str
    version: int = Field(ge=1)
    triggers: tuple[TriggerDefinition, ...]
    steps: tuple[StepDefinition, ...]
    deployed_at: AwareDatetime | None = None
    compensation: Literal["sequential", "parallel"] = "sequential"
    deadline: Seconds | None = None
    attributes: dict[str, str] = Field(default_factory=dict)
    code: bool = False

    @cached_property
    def hash(self) -> str:
        """Identifies what runs: the same for every deployment of the same definition."""
        told = self.model_copy(update={"deployed_at": None})
        # Without what is left as it is by default, so that a field added to the contract changes no hash.
        return sha256(told.model_dump_json(exclude_none=True, exclude_defaults=True).encode()).hexdigest()[
            :16
        ]

    @cached_property
    def by_name(self) -> dict[str, StepDefinition]:
        return {step.name: step for step in self.steps}

    @cached_property
    def predecessors(self) -> dict[str, tuple[str, ...]]:
        """Of each step those that must be done before it."""
        before = dict(pairwise(step.name for step in reversed(self.steps)))
        return {
            step.name: step.after if step.after is not None else tuple(filter(None, [before.get(step.name)]))
            for step in self.steps
        }

    @cached_property
    def plan(self) -> tuple[tuple[StepDefinition, tuple[str, ...]], ...]:
        """Each step with those that must be done before it, in the order written."""
        return tuple((step, self.predecessors[step.name]) for step in self.steps)

    @cached_property
    def levels(self) -> dict[str, int]:
        """Of each step the length of the longest way to it, from 0. A step whose predecessors go round in a circle or
        do not exist has none."""
        found: dict[str, int] = {}
        left = self.predecessors
        while True:
            next_ones = {
                name: max((found[one] + 1 for one in before), default=0)
                for name, before in left.items()
                if found.keys() >= set(before)
            }
            if not next_ones:
                return found
            found |= next_ones
            left = {name: before for name, before in left.items() if name not in found}

    @property
    def key(self) -> str:
        """The record's key in `saga.definitions`."""
        return f"{self.name}@{self.version}"


ControlKind = Literal["definition", "source"]


def control_key(kind: ControlKind, name: str) -> str:
    """The key in `saga.definitions`. No definition's looks like this: a saga's name has no slash."""
    return f"{CONTROL_PREFIX}{kind}/{name}"


CONTROL_PREFIX = "control/"


class ControlSet(Contract):
    """An operator paused a saga's definition (all versions of it) or a webhook source, or resumed it: what starts
    while it is paused is held. The newest record of a key holds. at: when the operator asked."""

    ce_type: ClassVar[str] = "sagahook.control.set.v1"

    kind: ControlKind
    name: str
    paused: bool
    actor: str
    reason: str = ""
    at: AwareDatetime

    @property
    def key(self) -> str:
        """The record's key in `saga.definitions`."""
        return control_key(self.kind, self.name)
