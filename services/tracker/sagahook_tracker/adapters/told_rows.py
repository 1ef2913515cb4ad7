"""Rows of a batch of what other services tell of themselves: deliveries, and audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sagahook_tracker.adapters.rows import Row, maybe_moment, maybe_text, moment, text
from sagahook_tracker.domain.changes import Audited
from sagahook_tracker.domain.deliveries import Delivered


def delivery_rows(deliveries: Iterable[Delivered]) -> Iterator[Row]:
    """Of each delivery what holds, and when and where it was told of first."""
    first: dict[str, Delivered] = {}
    newest: dict[str, Delivered] = {}
    for told in deliveries:
        delivery_id = told.told.delivery_id
        first.setdefault(delivery_id, told)
        if told.rank > newest.setdefault(delivery_id, told).rank:
            newest[delivery_id] = told
    for delivery_id, row in newest.items():
        yield {
            "delivery_id": text(delivery_id),
            "number": first[delivery_id].number,
            "endpoint_id": text(row.told.endpoint_id),
            "event_id": text(row.told.event_id),
            "event_type": text(row.told.event_type),
            "saga_id": text(row.told.saga_id),
            "run": row.run,
            "correlation_id": text(row.told.correlation_id),
            "status": row.status,
            "attempts": row.attempt,
            "error": maybe_text(row.error),
            "status_code": row.status_code,
            "next_attempt_at": maybe_moment(row.next_attempt_at),
            "first_at": moment(first[delivery_id].at),
            "updated_at": moment(row.at),
        }


def delivery_attempt_row(delivered: Delivered) -> Row:
    return {
        "delivery_id": text(delivered.told.delivery_id),
        "attempt": delivered.attempt,
        "what": delivered.what,
        "number": delivered.number,
        "at": moment(delivered.at),
        "status_code": delivered.status_code,
        "error": maybe_text(delivered.error),
        "next_attempt_at": maybe_moment(delivered.next_attempt_at),
    }


def audit_row(audited: Audited) -> Row:
    told = audited.told
    return {
        "audit_id": text(audited.audit_id),
        "number": audited.number,
        "at": moment(told.at),
        "until": maybe_moment(told.until),
        "service": text(told.service),
        "action": text(told.action),
        "target": text(told.target),
        "outcome": told.outcome,
        "actor": text(told.actor),
        "role": text(told.role),
        "reason": text(told.reason),
        "client": text(told.client),
        "correlation_id": text(told.correlation_id),
        "count": told.count,
    }
