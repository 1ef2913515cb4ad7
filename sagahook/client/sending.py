"""Webhooks of one's own, to ingest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from sagahook.client.calls import Call, path
from sagahook.client.model import Model


class WebhookAccepted(Model):
    """Kafka holds the event durably. `wait_until_final(source, correlation_id)` says what becomes of it."""

    status: Literal["accepted"]
    source: str
    message: str
    correlation_id: str
    event_id: str


def send(
    source: str,
    event: JsonValue,
    *,
    event_type: str | None = None,
    correlation_id: str | None = None,
    idempotency_key: str | None = None,
    secret: str | None = None,
) -> Call[WebhookAccepted]:
    """An event as JSON. Sent again by itself it is still one event: it gets an idempotency key where none is given.

    secret: of a source with the scheme `standard` (`whsec_…`), to sign by; others sign in their own ways.
    """
    content = json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    if event_type is not None:
        headers["X-Event-Type"] = event_type
    if correlation_id is not None:
        headers["X-Correlation-ID"] = correlation_id
    if secret is not None:
        headers |= _signed(secret, content)
    return Call(
        "POST",
        path("/webhooks/{source}", source=source),
        answer=WebhookAccepted,
        content=content,
        headers=headers,
    )


def _signed(secret: str, content: bytes) -> Mapping[str, str]:
    """The headers of Standard Webhooks (standardwebhooks.com)."""
    message_id, timestamp = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + content, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
