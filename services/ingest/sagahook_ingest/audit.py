"""Refused calls, as events for whoever audits (api.md §8): counted, logged and written to the topic `audit`, with
nothing secret in them."""

from __future__ import annotations

import time

from sagahook.runtime.addresses import Address, client_name
from sagahook.runtime.audit import Audit
from sagahook.runtime.buckets import Buckets, TooMany
from sagahook.runtime.logging import get_logger
from sagahook.runtime.sources import RateLimit
from sagahook_ingest import metrics
from sagahook_ingest.answers import Refused
from sagahook_ingest.domain.signatures import Unsigned
from sagahook_ingest.domain.sources import KnownSource

log = get_logger(__name__)

_LOGGED = RateLimit(10.0, 100)
"""Of each status: whoever floods ingest must not flood its log too. Each refusal is counted all the same."""


class RefusedCalls:
    """audit: where they are written; None: nowhere."""

    def __init__(self, audit: Audit | None = None) -> None:
        self._audit = audit
        self._buckets = Buckets("log", "for the log")
        self._left_out = 0

    def tell(
        self, raised: Exception, told: Refused, source: KnownSource | None, client: Address | None
    ) -> None:
        """source None: there is none of the name that was asked for."""
        label = source.name if source else metrics.UNKNOWN_SOURCE
        metrics.WEBHOOK_ERRORS.labels(label, str(told.status)).inc()
        if isinstance(raised, Unsigned) and source is not None:
            metrics.SIGNATURE_FAILURES.labels(source.name, source.scheme_name).inc()
        if told.status == 500:
            log.error("webhook.failed", source=label, correlation_id=told.correlation_id, exc_info=raised)
            return
        if self._audit is not None and told.status < 500:
            self._audit.refused(
                action="webhook.receive",
                target=label,
                reason=told.error,
                client=client_name(client),
                correlation_id=told.correlation_id,
            )
        try:
            self._buckets.take(told.status, _LOGGED, time.monotonic())
        except TooMany:
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        log.warning(
            "webhook.unsigned" if told.status == 401 else "webhook.refused",
            source=label,
            scheme=source.scheme_name if source else None,
            status=told.status,
            error=told.error,
            client=client_name(client),
            correlation_id=told.correlation_id,
            **({"left_out": left_out} if left_out else {}),
        )
