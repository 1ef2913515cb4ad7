"""Standard Webhooks (its specification, spec/standard-webhooks.md), which Svix sends under names of its own."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.signatures.macs import Macs
from sagahook_ingest.domain.signatures.scheme import (
    MOST_SIGNATURES,
    Options,
    Unsigned,
    check_time,
    matches_any,
    none_matches,
)

if TYPE_CHECKING:
    from sagahook_ingest.domain.signatures.ed25519 import PublicKey, SecretKey

SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of an HMAC key, by the specification."""

MOST_ASYMMETRIC = 4
"""Signatures by v1a that are tried. One costs as much as some fifty HMACs, and a sender that rotates sends two."""

_ID = re.compile(rb"[\x21-\x7e]{1,255}\Z")
# The message is id.timestamp.body, and the parts could be cut elsewhere where the id holds what could be a timestamp:
# the replay of a body that begins with digits, under another id. The specification wants no full stop in an id at all.
_AMBIGUOUS = re.compile(rb"\.[0-9]{1,12}(?:\.|\Z)")


class StandardWebhooks:
    """`v1` is HMAC-SHA256, `v1a` is ed25519; the header is a list of both, with spaces between.

    Of each header `webhook-` and `svix-` are the same. Both may be sent, but only with one value: what is verified is
    then what everyone reads, whichever name they read it by.
    """

    reads = frozenset(
        {
            b"webhook-id",
            b"webhook-timestamp",
            b"webhook-signature",
            b"svix-id",
            b"svix-timestamp",
            b"svix-signature",
        }
    )

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """Raises ValueError."""
        keys: list[bytes] = []
        self._public: list[PublicKey] = []
        self._signs: SecretKey | None = None
        for number, secret in enumerate(secrets, 1):
            key = _key_of(secret, number)
            if isinstance(key, bytes):
                keys.append(key)
                continue
            public, signs = key
            self._public.append(public)
            if number == 1:
                self._signs = signs
        self._macs = Macs(keys)
        self._signs_by_mac = secrets[0].startswith("whsec_")
        self._tolerance = options.tolerance.total_seconds()

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        delivery_id = _one_of(headers, b"webhook-id", b"svix-id")
        timestamp = _one_of(headers, b"webhook-timestamp", b"svix-timestamp")
        given = _one_of(headers, b"webhook-signature", b"svix-signature")
        check_time("webhook-timestamp", timestamp, now, self._tolerance)
        if not _ID.match(delivery_id) or _AMBIGUOUS.search(delivery_id):
            raise Unsigned("webhook-id must be 1 to 255 visible ASCII characters that hold no timestamp")
        if given.count(b" ") >= MOST_SIGNATURES:
            raise Unsigned(f"webhook-signature holds more than {MOST_SIGNATURES} signatures")
        signatures = given.split(b" ")
        head = b"%b.%b." % (delivery_id, timestamp)
        if not (self._mac_matches(signatures, head, body) or self._key_matches(signatures, head, body)):
            raise none_matches("webhook-signature")

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        raw_id = delivery_id.encode()
        if not _ID.match(raw_id) or _AMBIGUOUS.search(raw_id):
            raise ValueError("a webhook-id is 1 to 255 visible ASCII characters that hold no timestamp")
        head = f"{delivery_id}.{timestamp}.".encode()
        if self._signs_by_mac:
            signature = next(self._macs.base64(b"v1,", head, body)).decode()
        elif self._signs is not None:
            signature = "v1a," + b64encode(self._signs.sign(head + body)).decode()
        else:
            raise ValueError("the source's first secret is a public key, which cannot sign: name whsk_ first")
        return {"webhook-id": delivery_id, "webhook-timestamp": timestamp, "webhook-signature": signature}

    def _mac_matches(self, signatures: list[bytes], head: bytes, body: bytes) -> bool:
        candidates = [signature for signature in signatures if signature.startswith(b"v1,")]
        if not candidates or not self._macs:
            return False
        expected = list(self._macs.base64(b"v1,", head, body))
        return any(matches_any(candidate, expected) for candidate in candidates)

    def _key_matches(self, signatures: list[bytes], head: bytes, body: bytes) -> bool:
        candidates = [signature[4:] for signature in signatures if signature.startswith(b"v1a,")]
        if not candidates or not self._public:
            return False
        if len(candidates) > MOST_ASYMMETRIC:
            raise Unsigned(f"webhook-signature holds more than {MOST_ASYMMETRIC} signatures by v1a")
        message = head + body
        decoded = [_signature_of(candidate) for candidate in candidates]
        return any(
            public.verifies(signature, message)
            for signature in decoded
            if signature is not None
            for public in self._public
        )


def _one_of(headers: Headers, name: bytes, alias: bytes) -> bytes:
    """Raises Unsigned."""
    value, other = headers.get(name), headers.get(alias)
    if value is not None and other is not None and value != other:
        raise Unsigned(f"{name.decode()} and {alias.decode()} differ: send one of them")
    found = value or other
    if not found:
        raise Unsigned(
            f"The header {name.decode()} is missing or empty: this source takes only requests that carry it"
        )
    return found


def _signature_of(text: bytes) -> bytes | None:
    """None where it is not base64, or not as anyone would write it: the bits that decoding drops are set."""
    try:
        signature = binascii.a2b_base64(text)
    except ValueError:
        return None
    return signature if b64encode(signature) == text else None


def _key_of(secret: str, number: int) -> bytes | tuple[PublicKey, SecretKey | None]:
    """The HMAC key, or the ed25519 key with what it signs by. Raises ValueError."""
    kind, _, encoded = secret.partition("_")
    if kind not in ("whsec", "whpk", "whsk") or not encoded:
        raise ValueError(f"secret {number} must begin with whsec_, or for ed25519 with whpk_ or whsk_")
    try:
        # Without its padding too: the vendors' libraries take it so.
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError(f"secret {number} must be base64 after {kind}_") from None
    if kind == "whsec":
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise ValueError(
                f"secret {number} must hold {SHORTEST_KEY} to {LONGEST_KEY} bytes after whsec_, not {len(key)}"
            )
        return key
    # Here, because loading the library takes longer than the rest of ingest's start for a source that few have.
    from sagahook_ingest.domain.signatures.ed25519 import public_key, secret_key

    try:
        if kind == "whpk":
            return public_key(key), None
        signs = secret_key(key)
    except ValueError as unusable:
        raise ValueError(f"secret {number}: {unusable}") from None
    return signs.public, signs
