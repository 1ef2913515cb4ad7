"""What every scheme has: its refusal, its options, and the checks that they share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Literal, Protocol

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal

MOST_SECRETS = 10
"""Of one source. Each is tried, so this bounds the work for a request."""

MOST_SIGNATURES = 32
"""In one header that holds a list. Senders put one for each of their live secrets there: a few at most."""

Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}\Z")  # RFC 9110 §5.6.2
_TIMESTAMP_DIGITS = 12
"""Ten until the year 2286. What is longer is no time, and no number that is worth reading."""


class Unsigned(Refusal):
    """It is not shown that the source sent this. The error quotes neither a secret nor anything of the request.

    challenge: for `WWW-Authenticate`, which RFC 9110 §11.6.1 wants in every 401.
    """

    def __init__(self, error: str, challenge: str = "Signature") -> None:
        super().__init__(401, error, {"WWW-Authenticate": challenge})


class Scheme(Protocol):
    """reads: the lower-case names of the headers that it needs."""

    reads: frozenset[bytes]

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        """Raises Unsigned, and nothing else whatever the bytes are. `now` is aware."""

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        """The headers that such a sender sends with the body. Raises ValueError where the first secret can only
        verify, or where a header cannot hold the delivery id."""


@dataclass(frozen=True, slots=True)
class Options:
    """tolerance: how far a signed timestamp may be from now, in either direction. The other options belong to
    `hmac` (header, prefix, algorithm, encoding), `api_key` (header, prefix) and `basic` (username). header None:
    `X-API-Key`; `hmac` has no such custom and must be told."""

    tolerance: timedelta = timedelta(seconds=300)
    header: str | None = None
    prefix: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    username: str | None = None


def present(headers: Headers, name: str, key: bytes, challenge: str = "Signature") -> bytes:
    """The header's value; key: its lower-case name. Raises Unsigned where it is missing or empty."""
    value = headers.get(key)
    if not value:
        raise Unsigned(
            f"The header {name} is missing or empty: this source takes only requests that carry it", challenge
        )
    return value


def none_matches(name: str) -> Unsigned:
    return Unsigned(
        f"The signature in {name} is not one of this body by any secret of this source: check that the sender and "
        "the source have the same secret, and that nothing on the way changes the body"
    )


def matches_any(given: bytes, expected: Iterable[bytes]) -> bool:
    """In a time that says nothing of how much of it matches."""
    for candidate in expected:  # noqa: SIM110 `any` with a generator costs as much as half an HMAC
        if compare_digest(given, candidate):
            return True
    return False


def check_time(name: str, timestamp: bytes, now: datetime, tolerance: float) -> None:
    """timestamp: whole seconds since 1970 as digits; tolerance: seconds. Raises Unsigned."""
    if not timestamp.isdigit() or len(timestamp) > _TIMESTAMP_DIGITS:
        raise Unsigned(f"The timestamp in {name} must be whole seconds since 1970, as digits only")
    age = now.timestamp() - int(timestamp)
    if abs(age) <= tolerance:
        return
    if age > 0:
        raise Unsigned(
            f"The timestamp in {name} is {age:.0f} seconds old, and this source takes {tolerance:g}: sign the message "
            "anew for each attempt, and check both clocks"
        )
    raise Unsigned(
        f"The timestamp in {name} is {-age:.0f} seconds in the future, and this source takes {tolerance:g}: check "
        "both clocks"
    )


def check_prefix(prefix: str) -> None:
    """Raises ValueError."""
    if not (prefix.isascii() and prefix.isprintable()):
        raise ValueError("the prefix must be printable ASCII")


def check_header(name: str) -> None:
    """Raises ValueError."""
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is no name of a header")
