"""What logs and metrics say of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagahook.runtime.logging import get_logger, trace_fields
from sagahook_notifier.domain.deliveries import Claimed, Finished
from sagahook_notifier.domain.operational import Disabled
from sagahook_notifier.domain.policies import Exhausted, RetryAt, Succeeded
from sagahook_notifier.metrics import ATTEMPT_SECONDS, ATTEMPTS, DELIVERIES, DISABLED

log = get_logger(__name__)


def tell_attempts(finished: Sequence[Finished], recorded: Sequence[Finished]) -> None:
    """recorded: those of them whose lease was ours still."""
    if len(recorded) < len(finished):
        kept = {id(each) for each in recorded}
        for each in finished:
            if id(each) not in kept:
                tell_lost(each.claimed)
    for each in recorded:
        _tell(each)


def tell_lost(claimed: Claimed) -> None:
    log.warning("delivery.lease_lost", **_about(claimed))


def tell_disabled(disabled: Sequence[Disabled]) -> None:
    for each in disabled:
        DISABLED.inc()
        log.error("endpoint.disabled", endpoint=each.endpoint_id, reason=each.reason)


def _tell(finished: Finished) -> None:
    outcome = finished.outcome
    ATTEMPT_SECONDS.observe(finished.exchange.duration_ms / 1000)
    ATTEMPTS.labels("succeeded" if isinstance(outcome, Succeeded) else "failed").inc()
    match outcome:
        case Succeeded():
            DELIVERIES.labels("succeeded").inc()
            # What is usual has its row; a line for each would cost more than the delivery.
            log.debug("delivery.succeeded", **_about(finished.claimed))
        case Exhausted():
            DELIVERIES.labels("exhausted").inc()
            log.error("delivery.exhausted", error=outcome.error, **_about(finished.claimed))
        case RetryAt():
            log.warning(
                "delivery.attempt_failed",
                error=outcome.error,
                retry_at=outcome.at.isoformat(),
                **_about(finished.claimed),
            )


def _about(claimed: Claimed) -> dict[str, Any]:
    return {
        "delivery": claimed.delivery_id,
        "endpoint": claimed.target.endpoint_id,
        "event_type": claimed.event_type,
        "attempt": claimed.attempt,
        "correlation_id": claimed.correlation_id,
        "saga_id": claimed.saga_id,
        "run": claimed.run,
        **trace_fields(claimed.traceparent),
    }
