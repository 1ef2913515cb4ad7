"""Columns for a batch of what other services tell of themselves: deliveries, and audit."""

from __future__ import annotations

from collections.abc import Iterable

from sagahook_tracker.adapters.rows import Columns, maybe_text, text
from sagahook_tracker.domain.changes import Audited
from sagahook_tracker.domain.deliveries import Delivered


def delivery_columns(deliveries: Iterable[Delivered]) -> Columns:
    """Of each delivery what holds, and when and where it was told of first."""
    first: dict[str, Delivered] = {}
    newest: dict[str, Delivered] = {}
    for told in deliveries:
        delivery_id = told.told.delivery_id
        first.setdefault(delivery_id, told)
        if told.rank > newest.setdefault(delivery_id, told).rank:
            newest[delivery_id] = told
    rows = list(newest.values())
    return {
        "delivery_ids": [text(row.told.delivery_id) for row in rows],
        "numbers": [each.number for each in first.values()],
        "endpoint_ids": [text(row.told.endpoint_id) for row in rows],
        "event_ids": [text(row.told.event_id) for row in rows],
        "event_types": [text(row.told.event_type) for row in rows],
        "saga_ids": [text(row.told.saga_id) for row in rows],
        "runs": [row.run for row in rows],
        "correlation_ids": [text(row.told.correlation_id) for row in rows],
        "statuses": [row.status for row in rows],
        "attempts": [row.attempt for row in rows],
        "errors": [maybe_text(row.error) for row in rows],
        "status_codes": [row.status_code for row in rows],
        "next_attempts": [row.next_attempt_at for row in rows],
        "first_at": [each.at for each in first.values()],
        "updated_at": [row.at for row in rows],
    }


def delivery_attempt_columns(deliveries: Iterable[Delivered]) -> Columns:
    rows = list(deliveries)
    return {
        "delivery_ids": [text(row.told.delivery_id) for row in rows],
        "attempts": [row.attempt for row in rows],
        "whats": [row.what for row in rows],
        "numbers": [row.number for row in rows],
        "at": [row.at for row in rows],
        "status_codes": [row.status_code for row in rows],
        "errors": [maybe_text(row.error) for row in rows],
        "next_attempts": [row.next_attempt_at for row in rows],
    }


def audit_columns(audit: Iterable[Audited]) -> Columns:
    rows = list(audit)
    columns: Columns = {
        "audit_ids": [text(row.audit_id) for row in rows],
        "numbers": [row.number for row in rows],
        "at": [row.told.at for row in rows],
        "until": [row.told.until for row in rows],
        "outcome": [row.told.outcome for row in rows],
        "counts": [row.told.count for row in rows],
    }
    for word in ("service", "action", "target", "actor", "role", "reason", "client", "correlation_id"):
        columns[word] = [text(getattr(row.told, word)) for row in rows]
    return columns
