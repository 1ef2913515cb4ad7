"""Schemes whose signature is an HMAC of the body alone, in one header.

Nothing in such a message says when it was signed: only its delivery id, or an idempotency key, tells a replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.signatures.macs import Macs, keys_of
from sagahook_ingest.domain.signatures.scheme import (
    Options,
    Unsigned,
    check_header,
    check_prefix,
    matches_any,
    none_matches,
    present,
)


class GitHub:
    """docs.github.com, "Validating webhook deliveries": `sha256=` and the HMAC-SHA256 in hex.

    `X-Hub-Signature`, GitHub's older SHA-1, is never enough.
    """

    NAME = "X-Hub-Signature-256"

    reads = frozenset({b"x-hub-signature-256", b"x-hub-signature"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        self._macs = Macs(keys_of(secrets))

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        if b"x-hub-signature-256" not in headers and b"x-hub-signature" in headers:
            raise Unsigned(
                f"The header {self.NAME} is missing, and the SHA-1 in X-Hub-Signature alone is not enough: send "
                f"{self.NAME}, as GitHub has done since 2020"
            )
        given = present(headers, self.NAME, b"x-hub-signature-256")
        if not matches_any(given, self._macs.hex(b"sha256=", body)):
            raise none_matches(self.NAME)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        signature = next(self._macs.hex(b"sha256=", body)).decode()
        return {"X-GitHub-Delivery": delivery_id, self.NAME: signature}


class Shopify:
    """shopify.dev, "Verify webhook deliveries": the HMAC-SHA256 in base64, by the app's client secret."""

    NAME = "X-Shopify-Hmac-Sha256"

    reads = frozenset({b"x-shopify-hmac-sha256"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        self._macs = Macs(keys_of(secrets))

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        given = present(headers, self.NAME, b"x-shopify-hmac-sha256")
        if not matches_any(given, self._macs.base64(b"", body)):
            raise none_matches(self.NAME)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        signature = next(self._macs.base64(b"", body)).decode()
        return {"X-Shopify-Webhook-Id": delivery_id, self.NAME: signature}


class GenericHmac:
    """An HMAC of the body in a header of the source's own; hex is taken in either case."""

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """Raises ValueError."""
        check_prefix(options.prefix)
        if options.header is None:
            raise ValueError("the scheme hmac needs header: the name of the header with the signature")
        check_header(options.header)
        self._name = options.header
        self._key = self._name.lower().encode()
        self._prefix = options.prefix.encode()
        self._is_hex = options.encoding == "hex"
        self._macs = Macs(keys_of(secrets), options.algorithm)
        self.reads = frozenset({self._key})

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        given = present(headers, self._name, self._key)
        if not given.startswith(self._prefix):
            raise Unsigned(f"The header {self._name} does not begin with {self._prefix.decode()!r}")
        signature = given[len(self._prefix) :]
        if self._is_hex:
            signature, expected = signature.lower(), self._macs.hex(b"", body)
        else:
            expected = self._macs.base64(b"", body)
        if not matches_any(signature, expected):
            raise none_matches(self._name)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        macs = self._macs.hex if self._is_hex else self._macs.base64
        return {self._name: next(macs(self._prefix, body)).decode()}
