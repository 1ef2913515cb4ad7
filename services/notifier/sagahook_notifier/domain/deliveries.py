"""One delivery under way: what is sent, what came of it, and what is published of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import SecretStr

from sagahook_notifier.domain.policies import (
    Answer,
    Exhausted,
    NoAnswer,
    Outcome,
    RetryAt,
    RetryPolicy,
    Succeeded,
    Unsendable,
)
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded

SOURCE = "/sagahook/notifier"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this dispatcher holds under `lease_token`, with its endpoint as of the claim.

    attempt: the one that is to be made, from 1. One of `secret` and `signing_source` is set.
    """

    delivery_id: str
    lease_token: UUID
    endpoint_id: str
    event_id: str
    event_type: str
    saga_id: str
    run: int
    correlation_id: str
    body: bytes
    attempt: int
    url: str
    secret: SecretStr | None
    signing_source: str | None
    headers: dict[str, SecretStr]
    policy: RetryPolicy


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an attempt said and heard, without secrets: the headers are those that people may see, and the
    excerpt is the beginning of the answer's body."""

    said: Answer | NoAnswer | Unsendable
    started_at: datetime
    duration_ms: float
    request_headers: dict[str, str]
    response_excerpt: str | None = None

    @property
    def status_code(self) -> int | None:
        return self.said.status if isinstance(self.said, Answer) else None


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt that is over, and what was decided at `at`."""

    claimed: Claimed
    exchange: Exchange
    outcome: Outcome
    at: datetime

    @property
    def error(self) -> str | None:
        return None if isinstance(self.outcome, Succeeded) else self.outcome.error


def announcements(finished: Finished) -> list[tuple[Envelope, Contract]]:
    """What the world is told of an attempt; the ids derive from it, so that a repetition is known as one."""
    claimed, outcome = finished.claimed, finished.outcome
    about = {
        "delivery_id": claimed.delivery_id,
        "endpoint_id": claimed.endpoint_id,
        "event_id": claimed.event_id,
        "event_type": claimed.event_type,
        "saga_id": claimed.saga_id,
        "correlation_id": claimed.correlation_id,
    }
    attempt_id = f"{claimed.delivery_id}/{claimed.attempt}"
    if isinstance(outcome, Succeeded):
        status = finished.exchange.status_code
        succeeded = DeliverySucceeded(**about, attempt=claimed.attempt, status_code=status)
        return [_enveloped(attempt_id, finished, succeeded)]
    failed = DeliveryAttemptFailed(
        **about,
        attempt=claimed.attempt,
        error=outcome.error,
        status_code=finished.exchange.status_code,
        next_attempt_at=outcome.at if isinstance(outcome, RetryAt) else None,
    )
    told = [_enveloped(attempt_id, finished, failed)]
    if isinstance(outcome, Exhausted):
        exhausted = DeliveryExhausted(**about, attempts=claimed.attempt, error=outcome.error)
        told.append(_enveloped(f"{attempt_id}/exhausted", finished, exhausted))
    return told


def _enveloped(event_id: str, finished: Finished, event: Contract) -> tuple[Envelope, Contract]:
    claimed = finished.claimed
    envelope = Envelope(
        id=event_id,
        source=SOURCE,
        type=event.ce_type,
        time=finished.at,
        subject=claimed.endpoint_id,
        correlation_id=claimed.correlation_id,
        causation_id=claimed.event_id,
        saga_id=claimed.saga_id,
        run=claimed.run,
    )
    return envelope, event
