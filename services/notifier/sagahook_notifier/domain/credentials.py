"""What of an endpoint nobody is shown: the secrets that sign, and the values of its own headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orjson import dumps, loads
from pydantic import SecretStr

MOST_SECRETS = 4
"""That sign at once: each adds a signature to every delivery."""


class TooManySecrets(ValueError):
    """A person must wait until an old secret has expired, or end its time."""


@dataclass(frozen=True, slots=True)
class Secret:
    """until: when it stops to sign; None: it is the newest."""

    value: SecretStr
    created_at: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """secrets: the newest first."""

    secrets: tuple[Secret, ...] = ()
    headers: Mapping[str, SecretStr] = field(default_factory=dict)

    def valid(self, at: datetime) -> tuple[Secret, ...]:
        return tuple(each for each in self.secrets if each.until is None or at < each.until)

    def secrets_at(self, at: datetime) -> tuple[SecretStr, ...]:
        return tuple(each.value for each in self.valid(at))

    def rotated(self, secret: SecretStr, at: datetime, old_until: datetime) -> Credentials:
        """The new secret signs from now on, those before it until `old_until` at the latest. Raises TooManySecrets."""
        before = [
            Secret(old.value, old.created_at, old_until if old.until is None else min(old.until, old_until))
            for old in self.valid(at)
            if old.value != secret
        ]
        kept = (Secret(secret, at), *(old for old in before if old.until is not None and at < old.until))
        if len(kept) > MOST_SECRETS:
            raise TooManySecrets(
                f"{len(kept) - 1} earlier secrets are valid still, {MOST_SECRETS} may be at once: wait until one "
                "expires, or rotate with overlap 0, which ends them all"
            )
        return Credentials(kept, self.headers)

    def to_json(self) -> bytes:
        return dumps(
            {
                "secrets": [
                    {
                        "value": each.value.get_secret_value(),
                        "created_at": each.created_at,
                        "until": each.until,
                    }
                    for each in self.secrets
                ],
                "headers": {name: value.get_secret_value() for name, value in self.headers.items()},
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Credentials:
        stored: dict[str, Any] = loads(text)
        return cls(
            secrets=tuple(
                Secret(
                    SecretStr(each["value"]),
                    datetime.fromisoformat(each["created_at"]),
                    datetime.fromisoformat(each["until"]) if each["until"] else None,
                )
                for each in stored["secrets"]
            ),
            headers={name: SecretStr(value) for name, value in stored["headers"].items()},
        )
