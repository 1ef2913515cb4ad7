"""What other endpoints are told of one that was disabled (api.md §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sagahook_notifier.domain.endpoints import DISABLED_TYPE, PayloadFormat
from sagahook_notifier.domain.payloads import render_plain
from sagahook_notifier.domain.urls import InvalidUrl, destination
from sagahook_schemas.envelope import rfc3339
from sagahook_schemas.identity import delivery_id


@dataclass(frozen=True, slots=True)
class Disabled:
    """An endpoint that was disabled at `at`. failing_since: None where it was for another reason."""

    endpoint_id: str
    url: str
    reason: str
    failing_since: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Operational:
    delivery_id: str
    endpoint_id: str
    event_id: str
    body: bytes
    content_type: str


def disabled_deliveries(
    disabled: Sequence[Disabled], listeners: Sequence[tuple[str, PayloadFormat]]
) -> list[Operational]:
    """One to each listener of each; none to those that are disabled themselves, which the caller leaves out."""
    told = []
    for each in disabled:
        event_id = f"{DISABLED_TYPE}/{each.endpoint_id}/{rfc3339(each.at)}"
        for listener, payload_format in listeners:
            body, content_type = render_plain(payload_format, DISABLED_TYPE, each.at, event_id, _data(each))
            told.append(Operational(delivery_id(event_id, listener), listener, event_id, body, content_type))
    return told


def _data(disabled: Disabled) -> dict[str, str | None]:
    since = disabled.failing_since
    return {
        "endpoint_id": disabled.endpoint_id,
        "host": _host(disabled.url),
        "reason": disabled.reason,
        "failing_since": None if since is None else rfc3339(since),
        "disabled_at": rfc3339(disabled.at),
    }


def _host(url: str) -> str:
    """Not the URL: its path or query may be what keeps strangers out."""
    try:
        return destination(url).authority
    except InvalidUrl:
        return ""
