"""A webhook's way in: what was received and what it asked for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

from sagahook_schemas.base import Contract
from sagahook_schemas.envelope import Envelope, Header, rfc3339
from sagahook_schemas.erasable import MARK, TOKEN, is_sealed

RECEIVED = "sagahook.webhook.received.v1"

HTTP_HEADERS = "httpheaders"
"""The record header with those of the request: on a line a name, in lower case, and on the next its value, without
secrets. It is no attribute of the event: a value may be no UTF-8, and most readers have no use for it."""

REMOVED = "***"
"""In place of a header's value that is a secret, looks like one, or is too long."""

_SPEC = ("ce_specversion", b"1.0")
_TYPE = ("ce_type", RECEIVED.encode())


def received_envelope(
    *,
    event_id: str,
    source: str,
    event_type: str,
    time: datetime,
    correlation_id: str,
    content_type: str,
    idempotency_key_hash: str = "",
    body_hash: str = "",
    delivery_id: str = "",
    recorded_only: str = "",
    cloud_event: str = "",
    notify_url: str = "",
    traceparent: str = "",
) -> Envelope:
    """The envelope of `webhook.received`; the record's value is the raw body, byte for byte.

    `event_type` may be empty. `idempotency_key_hash` and `body_hash` are SHA-256 in hex and are given only
    where the sender set an Idempotency-Key; the key itself never enters the log. `delivery_id` is the sender's own
    id of this delivery. `recorded_only` says why no saga is to start for it. `cloud_event` has the attributes of a
    CloudEvent that came in headers, as a JSON object.
    """
    extensions = (
        ("webhooksource", source),
        ("idempotencykeyhash", idempotency_key_hash),
        ("bodyhash", body_hash),
        ("deliveryid", delivery_id),
        ("recordedonly", recorded_only),
        ("cloudevent", cloud_event),
        ("notifyurl", notify_url),
    )
    return Envelope(
        id=event_id,
        source=f"/webhooks/{source}",
        type=RECEIVED,
        time=time,
        subject=event_type,
        correlation_id=correlation_id,
        content_type=content_type,
        traceparent=traceparent,
        extensions=tuple((name, value) for name, value in extensions if value),
    )


def received_headers(
    *,
    event_id: str,
    source: str,
    event_type: str,
    time: datetime,
    correlation_id: str,
    content_type: str,
    traceparent: str,
    extensions: Iterable[tuple[str, str]],
    http_headers: bytes = b"",
) -> list[Header]:
    """What `received_envelope(…).to_headers()` gives, in a third of the time: each webhook waits for it.

    extensions: those of `received_envelope`, without those that are empty. http_headers: the value of HTTP_HEADERS.
    """
    source_name = source.encode()
    headers: list[Header] = [
        _SPEC,
        ("ce_id", event_id.encode()),
        ("ce_source", b"/webhooks/" + source_name),
        _TYPE,
        ("ce_time", rfc3339(time).encode()),
        ("content-type", content_type.encode()),
    ]
    if event_type:
        headers.append(("ce_subject", event_type.encode()))
    if correlation_id:
        headers.append(("ce_correlationid", correlation_id.encode()))
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    headers.append(("ce_webhooksource", source_name))
    headers += [(f"ce_{name}", value.encode()) for name, value in extensions]
    if http_headers:
        headers.append((HTTP_HEADERS, http_headers))
    return headers


def request_headers(headers: Iterable[Header]) -> dict[str, str] | None:
    """The headers that a webhook was sent with, of those of its record; None where they were not recorded. Where they
    are sealed, what stands for them in `erasable`.

    A name that was sent several times has its values joined, as RFC 9110 §5.3 has it.
    """
    recorded = next((value for name, value in headers if name == HTTP_HEADERS), None)
    if recorded is None:
        return None
    if is_sealed(recorded) and TOKEN.fullmatch(recorded.decode(errors="replace")):
        return {MARK: recorded.decode()}
    lines = [_text(line) for line in recorded.replace(b"\0", b"").split(b"\n")]
    found: dict[str, str] = {}
    for name, value in zip(lines[::2], lines[1::2], strict=False):
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _text(written: bytes) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        return written.decode("latin-1")


class RoutedSaga(Contract):
    """One saga that a webhook asked for."""

    saga_id: str
    name: str


class RouteError(Contract):
    """A trigger whose own code failed: that route is lost, the webhook's others are not."""

    name: str
    error: str


class WebhookRouted(Contract):
    """Which sagas a webhook asked for, or why none.

    `outcome` is `triggered` where at least one saga was asked for, `failed` where none was because triggers
    failed or the event could not be read, else `ignored`; `reason` says why for the last two. `reprocess` is the
    command by which an operator had it routed again.
    """

    ce_type: ClassVar[str] = "sagahook.webhook.routed.v1"

    source: str
    outcome: Literal["triggered", "ignored", "failed"]
    sagas: tuple[RoutedSaga, ...] = ()
    errors: tuple[RouteError, ...] = ()
    reason: str | None = None
    reprocess: str | None = None
