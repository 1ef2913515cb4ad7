"""Standard Webhooks (standardwebhooks.com, the specification): `v1` is HMAC-SHA256, `v1a` is ed25519, both over
`id.timestamp.body`."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Literal

Scheme = Literal["v1", "v1a"]

SECRET_PREFIX = "whsec_"  # noqa: S105 the prefix of every secret is not one
PRIVATE_PREFIX, PUBLIC_PREFIX = "whsk_", "whpk_"

SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of an HMAC key, by the specification."""

KEY_BYTES = 32
"""Of a secret that is made here, by either scheme."""


class InvalidSecret(ValueError):
    """An operator must correct the configuration. The message never holds the secret."""


def new_secret(scheme: Scheme, randomness: bytes) -> str:
    """randomness: KEY_BYTES of it."""
    prefix = SECRET_PREFIX if scheme == "v1" else PRIVATE_PREFIX
    return prefix + b64encode(randomness).decode()


def check_secret(secret: str) -> str:
    """The same secret. Raises InvalidSecret."""
    _signer(secret)
    return secret


def scheme_of(secret: str) -> Scheme:
    return "v1a" if secret.startswith(PRIVATE_PREFIX) else "v1"


def public_key(secret: str) -> str | None:
    """What receivers verify `v1a` by; None of a secret that both sides share. Raises InvalidSecret."""
    if scheme_of(secret) == "v1":
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(_private_key(secret)).public_key()
    return PUBLIC_PREFIX + b64encode(key.public_bytes_raw()).decode()


def signature_headers(secrets: Sequence[str], delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers that a receiver verifies by: it accepts what any one of the secrets signed. `delivery_id` is
    the same in every attempt, the time is the attempt's own. Raises InvalidSecret."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join((delivery_id.encode(), timestamp.encode(), body))
    signatures = [f"{scheme_of(secret)},{b64encode(_signer(secret)(signed)).decode()}" for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


@lru_cache(maxsize=4_096)
def _signer(secret: str) -> Callable[[bytes], bytes]:
    """Raises InvalidSecret."""
    if secret.startswith(PRIVATE_PREFIX):
        # Here, because few endpoints have such a secret and the library takes a while to load.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(_private_key(secret)).sign
    return partial(hmac.digest, _hmac_key(secret), digest="sha256")


def _hmac_key(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        raise InvalidSecret(f"a signing secret begins with {SECRET_PREFIX}, or for ed25519 {PRIVATE_PREFIX}")
    key = _decoded(secret, SECRET_PREFIX)
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise InvalidSecret(
            f"a signing secret holds {SHORTEST_KEY} to {LONGEST_KEY} bytes as base64, not {len(key)}"
        )
    return key


def _private_key(secret: str) -> bytes:
    """The seed; behind it may stand the public key, as Svix writes it."""
    key = _decoded(secret, PRIVATE_PREFIX)
    if len(key) not in (KEY_BYTES, 2 * KEY_BYTES):
        raise InvalidSecret(f"an ed25519 secret holds {KEY_BYTES} or {2 * KEY_BYTES} bytes, not {len(key)}")
    return key[:KEY_BYTES]


def _decoded(secret: str, prefix: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(prefix), validate=True)
    except ValueError:
        raise InvalidSecret(f"after {prefix} a signing secret is base64") from None
