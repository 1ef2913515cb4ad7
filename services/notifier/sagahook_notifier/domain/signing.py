"""Standard Webhooks v1: HMAC-SHA256 over `id.timestamp.body` (standardwebhooks.com, the specification)."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 the prefix of every secret is not one
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes, by the specification."""


class InvalidSecret(ValueError):
    """An operator must correct the configuration. The message never holds the secret."""


def signing_key(secret: str) -> bytes:
    """The key inside `whsec_<base64>`. Raises InvalidSecret."""
    if not secret.startswith(SECRET_PREFIX):
        raise InvalidSecret(f"a signing secret begins with {SECRET_PREFIX}")
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise InvalidSecret(f"after {SECRET_PREFIX} a signing secret is base64") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise InvalidSecret(
            f"a signing secret holds {SHORTEST_KEY} to {LONGEST_KEY} bytes as base64, not {len(key)}"
        )
    return key


def signature_headers(secret: str, delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers that a receiver verifies by. `delivery_id` is the same in every attempt, the time is
    the attempt's own. Raises InvalidSecret."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join((delivery_id.encode(), timestamp.encode(), body))
    signature = b64encode(hmac.digest(signing_key(secret), signed, "sha256")).decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
