"""What became of an outbound webhook: `notifications`, keyed by delivery id."""

from __future__ import annotations

from typing import ClassVar

from sagahook_schemas.base import AwareDatetime, Contract


class _Delivery(Contract):
    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    saga_id: str
    correlation_id: str


class DeliverySucceeded(_Delivery):
    """attempt: the one that was answered with success, from 1."""

    ce_type: ClassVar[str] = "sagahook.delivery.succeeded.v1"

    attempt: int
    status_code: int


class DeliveryAttemptFailed(_Delivery):
    """`next_attempt_at` None: no further attempt is planned."""

    ce_type: ClassVar[str] = "sagahook.delivery.attempt_failed.v1"

    attempt: int
    error: str
    status_code: int | None = None
    next_attempt_at: AwareDatetime | None = None


class DeliveryExhausted(_Delivery):
    """Every attempt failed: the delivery waits for a person."""

    ce_type: ClassVar[str] = "sagahook.delivery.exhausted.v1"

    attempts: int
    error: str
