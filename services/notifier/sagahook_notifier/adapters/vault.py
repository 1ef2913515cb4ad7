"""Credentials at rest: AES-256-GCM (NIST SP 800-38D) under a key that the database never holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sagahook_notifier.domain.credentials import Credentials

_NONCE_BYTES = 12
_ID_BYTES = 4
_CACHED = 10_000


class Unreadable(Exception):
    """No key that is configured opens it: an operator must give back the one by which it was sealed."""


class Vault:
    """keys: what the secrets of this deployment are encrypted by, the one for new ones first; any text, however long.

    What is sealed begins with the id of its key, so that a second key can take over from the first one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {derived[:_ID_BYTES]: AESGCM(derived[_ID_BYTES:]) for derived in map(_derived, keys)}
        self.key_id = next(iter(self._keys))
        """Of the key that seals."""
        self._opened = lru_cache(_CACHED)(self._open)

    def seal(self, endpoint_id: str, credentials: Credentials) -> bytes:
        """Bound to the endpoint: what is sealed for one is of no use in another's row."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self.key_id].encrypt(nonce, credentials.to_json(), endpoint_id.encode())
        return self.key_id + nonce + sealed

    def open(self, endpoint_id: str, sealed: bytes) -> Credentials:
        """Raises Unreadable."""
        return self._opened(endpoint_id, sealed)

    def _open(self, endpoint_id: str, sealed: bytes) -> Credentials:
        key = self._keys.get(sealed[:_ID_BYTES])
        if key is None:
            raise Unreadable(
                f"the secrets of {endpoint_id} are encrypted by a key that is not configured: set SECRET_KEY, or "
                "SAGAHOOK_SECRET_KEY_OTHER, to the one by which they were stored"
            )
        nonce, encrypted = sealed[_ID_BYTES:][:_NONCE_BYTES], sealed[_ID_BYTES + _NONCE_BYTES :]
        try:
            return Credentials.from_json(key.decrypt(nonce, encrypted, endpoint_id.encode()))
        except InvalidTag:
            raise Unreadable(
                f"what is stored of the secrets of {endpoint_id} is damaged, or not its own: rotate its secret"
            ) from None


def _derived(key: str) -> bytes:
    """Its id, which tells nothing of it, and the 256 bits that encrypt."""
    kdf = HKDF(SHA256(), _ID_BYTES + 32, salt=None, info=b"sagahook notifier credentials v1")
    return kdf.derive(key.encode())
