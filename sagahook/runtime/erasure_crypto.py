"""Data keys, and what is sealed under them: AES-256-GCM (NIST SP 800-38D), by the `cryptography` package.

A data key is drawn at random for each subject or source. It is written down only sealed under the deployment's own key
(SAGAHOOK_ERASURE_KEY), of which several may be known while one replaces the other.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from orjson import dumps, loads

from sagahook.runtime.source_files import Files, Unusable, resolve
from sagahook_schemas.base import JsonValue
from sagahook_schemas.erasable import TOKEN

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"
_NAME_BYTES = 4


class WrongKey(Exception):
    """None of the deployment's keys opens it: an operator must give the one that does."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """id: 32 hexadecimal digits, drawn at random, so that nothing of the subject is in it. subject: the first 16 bytes
    of its SHA-256, as hex; "" for what belongs to the source as a whole."""

    id: str
    source: str
    subject: str
    secret: bytes

    @classmethod
    def draw(cls, source: str, subject: str) -> DataKey:
        """subject: as `hashed`."""
        return cls(os.urandom(16).hex(), source, subject, os.urandom(KEY_BYTES))

    def seal(self, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, data, self.id.encode())

    def open(self, sealed: bytes) -> bytes:
        """Raises ValueError where it was not sealed under this key, or was changed."""
        try:
            return AESGCM(self.secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.id.encode())
        except InvalidTag:
            raise ValueError(f"it is not sealed under the data key {self.id}, or was changed") from None

    def seal_value(self, value: JsonValue) -> str:
        """As `sagahook_schemas.erasable` has it."""
        return f"sealed:1:{self.id}:{urlsafe_b64encode(self.seal(dumps(value))).decode().rstrip('=')}"

    def open_value(self, token: str) -> Any:
        """Raises ValueError."""
        found = TOKEN.fullmatch(token)
        if found is None:
            raise ValueError("it is no sealed value")
        written = found[2]
        return loads(self.open(urlsafe_b64decode(written + "=" * (-len(written) % 4))))


def hashed(source: str, subject: str) -> str:
    """Of a subject; "" of none."""
    return sha256(f"{source}\x1f{subject}".encode()).hexdigest()[:32] if subject else ""


class KeyEncryption:
    """The deployment's keys: the first one seals data keys, and any of them opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(
                f"a key is {KEY_BYTES} bytes, as base64: make one with `openssl rand -base64 32`"
            )
        self._by_name = {sha256(key).digest()[:_NAME_BYTES]: AESGCM(key) for key in keys}
        self._first = sha256(keys[0]).digest()[:_NAME_BYTES]

    @classmethod
    def of(cls, references: str, environment: Mapping[str, str]) -> KeyEncryption:
        """references: `env:NAME` or `file:/path` of each, comma-separated. Raises ValueError, which quotes no key."""
        keys = []
        for reference in filter(None, (each.strip() for each in references.split(","))):
            try:
                keys.append(b64decode(resolve(reference, environment, Files()), validate=True))
            except Unusable as wrong:
                raise ValueError(str(wrong).replace("secret", "key")) from None
            except ValueError:
                raise ValueError(f"what {reference} holds is no base64") from None
        return cls(keys)

    def wrap(self, key: DataKey) -> bytes:
        """The value of its record in `erasure.keys`: 1, the name of the key that it is sealed under, and the rest."""
        nonce = os.urandom(_NONCE_BYTES)
        told = dumps({"key": b64encode(key.secret).decode(), "source": key.source, "subject": key.subject})
        sealed = self._by_name[self._first].encrypt(nonce, told, key.id.encode())
        return _VERSION + self._first + nonce + sealed

    def unwrap(self, key_id: str, value: bytes) -> DataKey:
        """Raises WrongKey."""
        name, rest = value[1 : 1 + _NAME_BYTES], value[1 + _NAME_BYTES :]
        known = self._by_name.get(name)
        if value[:1] != _VERSION or known is None:
            raise WrongKey(
                f"the data key {key_id} is sealed under a key that SAGAHOOK_ERASURE_KEY does not name"
            )
        try:
            told = loads(known.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], key_id.encode()))
        except (InvalidTag, ValueError):
            raise WrongKey(f"the record of the data key {key_id} was changed") from None
        return DataKey(key_id, told["source"], told["subject"], b64decode(told["key"]))

    def is_current(self, value: bytes) -> bool:
        """Whether it is sealed under the first of the keys."""
        return value[1 : 1 + _NAME_BYTES] == self._first
