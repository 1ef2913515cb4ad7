"""HMAC (RFC 2104) under a source's secrets."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence

from sagahook_ingest.domain.signatures.scheme import Algorithm

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Macs:
    """Two hashes for each secret, begun with it once: copies of them cost a third of what `hmac` takes for a message.

    Not a dataclass, so that no repr shows a key.
    """

    def __init__(self, keys: Sequence[bytes], algorithm: Algorithm = "sha256") -> None:
        self._begun = [_begun(key, algorithm) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._begun)

    def hex(self, prefix: bytes, *parts: bytes) -> Iterator[bytes]:
        """Of the parts as one message, the first secret's first, as headers have it: the prefix, then lower case."""
        for begun in self._begun:
            yield prefix + _ended(begun, parts).hexdigest().encode()

    def base64(self, prefix: bytes, *parts: bytes) -> Iterator[bytes]:
        """The same in base64, with its padding."""
        for begun in self._begun:
            yield prefix + b64encode(_ended(begun, parts).digest())


def _begun(key: bytes, algorithm: Algorithm) -> tuple[hashlib._Hash, hashlib._Hash]:
    """The inner and the outer hash, each with the key in it."""
    size = hashlib.new(algorithm).block_size
    padded = (key if len(key) <= size else hashlib.new(algorithm, key).digest()).ljust(size, b"\0")
    return hashlib.new(algorithm, padded.translate(_INNER)), hashlib.new(algorithm, padded.translate(_OUTER))


def _ended(begun: tuple[hashlib._Hash, hashlib._Hash], parts: Iterable[bytes]) -> hashlib._Hash:
    inner, outer = begun[0].copy(), begun[1].copy()
    for part in parts:
        inner.update(part)
    outer.update(inner.digest())
    return outer


def keys_of(secrets: Sequence[str]) -> list[bytes]:
    """Raises ValueError, which never quotes a secret: its text has no UTF-8 form."""
    try:
        return [secret.encode() for secret in secrets]
    except UnicodeEncodeError:
        raise ValueError("a secret is not valid text") from None
