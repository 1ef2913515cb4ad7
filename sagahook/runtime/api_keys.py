"""API keys as they are configured: an id, a role, and the SHA-256 of the key, which itself stands nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from sagahook.runtime.sources import Rate, RateLimit
from sagahook_schemas.base import AwareDatetime

Role = Literal["reader", "operator", "admin"]

_RANKS: tuple[Role, ...] = ("reader", "operator", "admin")
"""Each may do what those before it may."""

KeyHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ApiKey(BaseModel):
    """hash: the SHA-256 of the key, in hex. rate_limit: instead of the one that every key has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: KeyId
    role: Role
    hash: KeyHash
    name: Annotated[str, StringConstraints(max_length=100, pattern=r"^\P{Cc}*$")] = ""
    expires_at: AwareDatetime | None = None
    rate_limit: Rate | None = None

    def is_enough(self, needed: Role) -> bool:
        return _RANKS.index(self.role) >= _RANKS.index(needed)


def _listed(given: Any) -> Any:
    """`{"operator": "<hash>"}` is the short form of one key for each role, with the role as its id."""
    if isinstance(given, Mapping):
        return [{"id": role, "role": role, "hash": hashed} for role, hashed in given.items()]
    return given


def _distinct(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    for what, each in (("id", [key.id for key in keys]), ("hash", [key.hash for key in keys])):
        if len(set(each)) < len(each):
            raise ValueError(f"two keys have the same {what}: give each its own")
    return keys


ApiKeys = Annotated[tuple[ApiKey, ...], BeforeValidator(_listed), AfterValidator(_distinct)]


def find(keys: Sequence[ApiKey], presented: str, now: datetime) -> ApiKey | None:
    """Whose key it is; None for an unknown one, and for one that has expired. It takes as long whichever it is."""
    digest = digest_of(presented)
    matches = [key for key in keys if compare_digest(digest, key.hash)]
    expired = [key for key in matches if key.expires_at is not None and key.expires_at <= now]
    return matches[0] if matches and not expired else None


def digest_of(key: str) -> str:
    # A fast hash will do: what is hashed are 256 random bits, which nobody tries out.
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(role: Role, name: str, *, expires_at: datetime | None = None) -> tuple[str, ApiKey]:
    """A new key, which nothing else will ever show, and what is configured for it.

    Its beginning, `shk_` and the id, lets a scanner for secrets recognise it, and a person tell which one it is.
    """
    key_id = secrets.token_hex(4)
    key = f"shk_{key_id}_{secrets.token_hex(32)}"
    return key, ApiKey(id=key_id, role=role, hash=digest_of(key), name=name, expires_at=expires_at)


def limit_of(key: ApiKey, usual: RateLimit) -> RateLimit:
    return usual if key.rate_limit is None else key.rate_limit
