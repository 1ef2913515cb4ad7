"""One delivery under way: what is sent, what came of it, and what is published of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sagahook_notifier.domain.credentials import Credentials
from sagahook_notifier.domain.health import Sign
from sagahook_notifier.domain.policies import (
    Answer,
    Exhausted,
    Outcome,
    RetryAt,
    RetryPolicy,
    Said,
    Succeeded,
    sign_of,
)
from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded

SOURCE = "/sagahook/notifier"


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An endpoint as of a claim; one object for each version of it. signing_source: the source whose secret signs
    in place of the endpoint's own. unsigned: why there are no secrets to sign by; then nothing is sent."""

    endpoint_id: str
    url: str
    credentials: Credentials
    signing_source: str | None
    unsigned: str | None
    policy: RetryPolicy
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this dispatcher holds under `lease_token` until `leased_until`.

    attempt: the one that is to be made, from 1. attempts_before: those that the policy does not count, because
    somebody asked for the delivery again after them. probe: the endpoint's circuit let this one through alone.
    ailing: the endpoint's last attempts failed. traceparent: the trace it belongs to; "" where nothing is traced.
    """

    delivery_id: str
    lease_token: UUID
    leased_until: datetime
    target: Target
    event_id: str
    event_type: str
    saga_id: str
    run: int
    correlation_id: str
    body: bytes
    content_type: str
    attempt: int
    attempts_before: int = 0
    probe: bool = False
    ailing: bool = False
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Set aside by a dispatcher for deliveries that are about to be made: so many of each endpoint are its own from
    their first moment, under `lease_token` until `leased_until`, and need not be claimed."""

    lease_token: UUID
    leased_until: datetime
    by_endpoint: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an attempt said and heard, without secrets: the headers are those that people may see, and the
    excerpt is the beginning of the answer's body. phases: milliseconds by their names."""

    said: Said
    started_at: datetime
    duration_ms: float
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_excerpt: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)

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

    @property
    def sign(self) -> Sign:
        return sign_of(self.exchange.said, self.outcome)

    @property
    def tells_of_health(self) -> bool:
        """Whether it may change what is known of the endpoint: what succeeds while all is well does not."""
        return self.sign != "accepted" or self.claimed.ailing or self.claimed.probe


def announcements(finished: Finished) -> list[tuple[Envelope, Contract]]:
    """What the world is told of an attempt; the ids derive from it, so that a repetition is known as one."""
    claimed, outcome = finished.claimed, finished.outcome
    about = {
        "delivery_id": claimed.delivery_id,
        "endpoint_id": claimed.target.endpoint_id,
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
        subject=claimed.target.endpoint_id,
        correlation_id=claimed.correlation_id,
        causation_id=claimed.event_id,
        saga_id=claimed.saga_id,
        run=claimed.run,
        traceparent=claimed.traceparent,
    )
    return envelope, event
