"""Outbound webhooks, as the notifier tells of their attempts. It may tell of one twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sagahook_schemas.envelope import Envelope
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded

Outcome = DeliverySucceeded | DeliveryAttemptFailed | DeliveryExhausted

DeliveryStatus = Literal["retrying", "delivered", "failed", "exhausted"]
"""failed: no further attempt is planned. exhausted: and it was said that it waits for a person."""

What = Literal["succeeded", "attempt_failed", "exhausted"]

OutcomeKey = tuple[str, int, What]
"""delivery id, attempt, what was said of it"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was said of one attempt. number: of the record that said it first."""

    number: int
    at: datetime
    run: int
    what: What
    attempt: int
    told: Outcome
    error: str | None = None
    status_code: int | None = None
    next_attempt_at: datetime | None = None

    @property
    def key(self) -> OutcomeKey:
        return self.told.delivery_id, self.attempt, self.what

    @property
    def status(self) -> DeliveryStatus:
        if self.what == "succeeded":
            return "delivered"
        if self.what == "exhausted":
            return "exhausted"
        return "failed" if self.next_attempt_at is None else "retrying"

    @property
    def rank(self) -> int:
        """Of what is said of a delivery the highest holds. An attempt is said to be the last one after it failed."""
        return 2 * self.attempt + (self.what == "exhausted")


def delivered(envelope: Envelope, event: Outcome, number: int) -> Delivered:
    match event:
        case DeliverySucceeded():
            return Delivered(
                number,
                envelope.time,
                envelope.run,
                "succeeded",
                event.attempt,
                event,
                None,
                event.status_code,
            )
        case DeliveryAttemptFailed():
            return Delivered(
                number,
                envelope.time,
                envelope.run,
                "attempt_failed",
                event.attempt,
                event,
                event.error,
                event.status_code,
                event.next_attempt_at,
            )
        case DeliveryExhausted():
            return Delivered(
                number, envelope.time, envelope.run, "exhausted", event.attempts, event, event.error
            )
