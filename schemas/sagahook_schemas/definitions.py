"""What is deployed: a saga's triggers and steps, as data."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, ClassVar

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


class TriggerDefinition(Contract):
    """Which webhooks start the saga. `event` None: any event of the source. `idempotency_key`: a dotted path
    into the body, whose value must be present; None: every webhook starts a saga of its own."""

    source: SourceName
    event: str | None = None
    idempotency_key: str | None = None

    def wants(self, source: str, event_type: str) -> bool:
        return self.source == source and self.event in (None, event_type)


class CompensationDefinition(Contract):
    """timeout: for each attempt."""

    timeout: Seconds
    retry: Retry


class StepDefinition(Contract):
    """timeout: for each attempt. `compensation` None: nothing to undo."""

    name: str
    timeout: Seconds
    retry: Retry
    compensation: CompensationDefinition | None = None


class SagaDefinition(Contract):
    """One version of a saga. Steps run in the order given; compensations in its reverse."""

    ce_type: ClassVar[str] = "sagahook.definition.deployed.v1"

    name: str
    version: int = Field(ge=1)
    triggers: tuple[TriggerDefinition, ...]
    steps: tuple[StepDefinition, ...]
    deployed_at: AwareDatetime | None = None

    @cached_property
    def hash(self) -> str:
        """Identifies what runs: the same for every deployment of the same definition."""
        return sha256(self.model_copy(update={"deployed_at": None}).to_json()).hexdigest()[:16]

    @cached_property
    def by_name(self) -> dict[str, StepDefinition]:
        return {step.name: step for step in self.steps}

    @cached_property
    def following(self) -> dict[str, str]:
        """From each step but the last to the one after it."""
        return {step.name: after.name for step, after in pairwise(self.steps)}

    @property
    def key(self) -> str:
        """The record's key in `saga.definitions`."""
        return f"{self.name}@{self.version}"
