"""HMAC (RFC 2104) under a source's secrets."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterator, Sequence

from sagahook_ingest.domain.signatures.scheme import Algorithm


class Macs:
    """One HMAC state for each secret, keyed once: a copy of it costs three quarters of keying it for each message.

    Not a dataclass, so that no repr shows a key.
    """

    def __init__(self, keys: Sequence[bytes], algorithm: Algorithm = "sha256") -> None:
        self._keyed = [hmac.new(key, digestmod=algorithm) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._keyed)

    def hex(self, prefix: bytes, *parts: bytes) -> Iterator[bytes]:
        """Of the parts as one message, the first secret's first, as headers have it: the prefix, then lower case."""
        for keyed in self._keyed:
            mac = keyed.copy()
            for part in parts:
                mac.update(part)
            yield prefix + mac.hexdigest().encode()

    def base64(self, prefix: bytes, *parts: bytes) -> Iterator[bytes]:
        """The same in base64, with its padding."""
        for keyed in self._keyed:
            mac = keyed.copy()
            for part in parts:
                mac.update(part)
            yield prefix + b64encode(mac.digest())


def keys_of(secrets: Sequence[str]) -> list[bytes]:
    """Raises ValueError, which never quotes a secret: its text has no UTF-8 form."""
    try:
        return [secret.encode() for secret in secrets]
    except UnicodeEncodeError:
        raise ValueError("a secret is not valid text") from None
