"""Schemes that show a secret instead of signing with it, and the one that shows nothing.

They say who sent a request, not that the body arrived as it was sent: that is TLS's part.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime

from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.signatures.macs import keys_of
from sagahook_ingest.domain.signatures.scheme import (
    Options,
    Unsigned,
    check_header,
    check_prefix,
    matches_any,
    present,
)

_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORIZATION = "Authorization"


class Bearer:
    """RFC 6750 §2.1."""

    reads = frozenset({b"authorization"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """Raises ValueError."""
        _check_visible(secrets)
        self._tokens = keys_of(secrets)

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        given = _authorization(headers, b"bearer", "Bearer")
        if not matches_any(given, self._tokens):
            raise Unsigned(
                "The bearer token is none of this source's: send the one that it is set up with", "Bearer"
            )

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        return {_AUTHORIZATION: f"Bearer {self._tokens[0].decode()}"}


class Basic:
    """RFC 7617. The secrets are passwords of the one username."""

    CHALLENGE = 'Basic realm="webhooks", charset="UTF-8"'

    reads = frozenset({b"authorization"})

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """Raises ValueError."""
        username = options.username
        if username is None:
            raise ValueError("the scheme basic needs username: the name that comes with the password")
        if ":" in username or _CONTROL.search(username):
            raise ValueError("a username has neither a colon nor control characters")
        for number, secret in enumerate(secrets, 1):
            if _CONTROL.search(secret):
                raise ValueError(f"secret {number} has control characters")
        pairs = keys_of([f"{username}:{secret}" for secret in secrets])
        self._credentials = [b64encode(pair) for pair in pairs]

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        given = _authorization(headers, b"basic", self.CHALLENGE)
        if not matches_any(given, self._credentials):
            raise Unsigned("The username and password are none of this source's", self.CHALLENGE)

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        return {_AUTHORIZATION: f"Basic {self._credentials[0].decode()}"}


class ApiKey:
    """A key in a header of the source's own, after the prefix where it has one."""

    CHALLENGE = "ApiKey"

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """Raises ValueError."""
        _check_visible(secrets)
        check_prefix(options.prefix)
        self._name = "X-API-Key" if options.header is None else options.header
        check_header(self._name)
        self._key = self._name.lower().encode()
        self._values = [(options.prefix + secret).encode() for secret in secrets]
        self.reads = frozenset({self._key})

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        given = present(headers, self._name, self._key, self.CHALLENGE)
        if not matches_any(given, self._values):
            raise Unsigned(
                f"The key in {self._name} is none of this source's: send the one that it is set up with",
                self.CHALLENGE,
            )

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        return {self._name: self._values[0].decode()}


class Unverified:
    """The scheme `none`: whoever reaches ingest may send."""

    reads: frozenset[bytes] = frozenset()

    def __init__(self, secrets: Sequence[str], options: Options) -> None:
        """There is nothing to keep of them."""

    def verify(self, headers: Headers, body: bytes, now: datetime) -> None:
        return

    def sign(self, body: bytes, now: datetime, delivery_id: str) -> dict[str, str]:
        return {}


def _authorization(headers: Headers, scheme: bytes, challenge: str) -> bytes:
    """What comes after the scheme's name, which RFC 9110 §11.1 takes in any case. Raises Unsigned."""
    value = present(headers, _AUTHORIZATION, b"authorization", challenge)
    given, _, credentials = value.partition(b" ")
    if given.lower() != scheme:
        raise Unsigned(
            f"The header Authorization must be of the scheme {challenge.partition(' ')[0]}", challenge
        )
    return credentials.lstrip(b" ")


def _check_visible(secrets: Sequence[str]) -> None:
    """Raises ValueError: a header could not hold the secret."""
    for number, secret in enumerate(secrets, 1):
        if not _VISIBLE.match(secret):
            raise ValueError(f"secret {number} must be visible ASCII characters without spaces")
