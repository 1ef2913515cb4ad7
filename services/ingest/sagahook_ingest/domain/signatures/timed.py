"""Schemes that sign the time beside the body, as text: Slack's and Stripe's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.signatures.macs import Macs, keys_of
from sagahook_ingest.domain.signatures.scheme import (
    MOST_SIGNATURES,
    Options,
    Unsigned,
    check_time,
    matches_any,
    none_matches,
    present,
)


class Slack:
    """docs.slack.dev, "Verifying requests from Slack": `v0=` and the HMAC-SHA256 in hex of `v0:TIMESTAMP:BODY`."""

    NAME = "X-Slack-Signature"
    TIMESTAMP = "X-Slack-Request-Timestamp"

    reads = frozenset({b"x-slack-signature", b"x-slack-request-timestamp"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        self._macs = Macs(keys_of(secrets))
        self._tolerance = options.tolerance.total_seconds()

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        timestamp = present(headers, self.TIMESTAMP, b"x-slack-request-timestamp")
        given = present(headers, self.NAME, b"x-slack-signature")
        check_time(self.TIMESTAMP, timestamp, now, self._tolerance)
        if not matches_any(given, self._macs.hex(b"v0=", b"v0:%b:" % timestamp, body)):
            raise none_matches(self.NAME)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        signature = next(self._macs.hex(b"v0=", f"v0:{timestamp}:".encode(), body)).decode()
        return {self.TIMESTAMP: timestamp, self.NAME: signature}


class Stripe:
    """docs.stripe.com, "Verify webhook signatures manually": `t=TIMESTAMP,v1=HEX`, with one `v1` for each live secret
    of the endpoint; HMAC-SHA256 of `TIMESTAMP.BODY` by the whole secret, `whsec_` included.

    Other schemes than v1 are ignored, as Stripe asks for: its v0 is of test events and proves nothing.
    """

    NAME = "Stripe-Signature"

    reads = frozenset({b"stripe-signature"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        self._macs = Macs(keys_of(secrets))
        self._tolerance = options.tolerance.total_seconds()

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        timestamp, signatures = self._read(present(headers, self.NAME, b"stripe-signature"))
        check_time(self.NAME, timestamp, now, self._tolerance)
        expected = list(self._macs.hex(b"", timestamp + b".", body))
        if not any(matches_any(given, expected) for given in signatures):
            raise none_matches(self.NAME)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        signature = next(self._macs.hex(b"", f"{timestamp}.".encode(), body)).decode()
        return {self.NAME: f"t={timestamp},v1={signature}"}

    def _read(self, header: bytes) -> tuple[bytes, list[bytes]]:
        """The first timestamp, and the signatures by v1. Raises Unsigned."""
        if header.count(b",") >= MOST_SIGNATURES:
            raise Unsigned(f"The header {self.NAME} has more than {MOST_SIGNATURES} parts")
        timestamp, signatures = b"", []
        for part in header.split(b","):
            key, _, value = part.partition(b"=")
            if key == b"v1":
                signatures.append(value)
            elif key == b"t" and not timestamp:
                timestamp = value
        if not timestamp or not signatures:
            raise Unsigned(f"The header {self.NAME} must hold t=TIMESTAMP and at least one v1=SIGNATURE")
        return timestamp, signatures
