"""ed25519 (RFC 8032) by the `cryptography` library."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_KEY_LENGTH = 32


class PublicKey:
    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class SecretKey:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


def public_key(raw: bytes) -> PublicKey:
    """Raises ValueError."""
    if len(raw) != _KEY_LENGTH:
        raise ValueError(f"an ed25519 public key has {_KEY_LENGTH} bytes, not {len(raw)}")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))


def secret_key(raw: bytes) -> SecretKey:
    """The seed, or the seed and the public key after it, as Svix writes it. Raises ValueError."""
    if len(raw) not in (_KEY_LENGTH, 2 * _KEY_LENGTH):
        raise ValueError(
            f"an ed25519 secret key has {_KEY_LENGTH} or {2 * _KEY_LENGTH} bytes, not {len(raw)}"
        )
    key = Ed25519PrivateKey.from_private_bytes(raw[:_KEY_LENGTH])
    if raw[_KEY_LENGTH:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("the two halves of the ed25519 secret key do not belong together")
    return SecretKey(key)
