"""API keys: who may call what (api.md §8). Only hashes are configured; a key itself is seen once, in a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import KeyHashes, Role

__all__ = ["KeyHashes", "Role", "may", "requires"]

log = get_logger(__name__)

_RANKS: tuple[Role, ...] = ("reader", "operator", "admin")
"""Each may do what those before it may."""

_BEARER = HTTPBearer(auto_error=False, description="An API key")


def may(hashes: Mapping[Role, str], presented: str, needed: Role) -> bool:
    """Whether the key is one of the role, or of a higher one. It takes as long whichever key it is."""
    digest = sha256(presented.encode()).hexdigest()
    matches = [
        compare_digest(digest, hashes[role]) for role in _RANKS[_RANKS.index(needed) :] if role in hashes
    ]
    return any(matches)


def requires(hashes: Mapping[Role, str], needed: Role) -> Callable[..., Awaitable[None]]:
    """A FastAPI dependency: the caller's `Authorization: Bearer KEY` is of the role, or a higher one.

    A key that is unknown and one that is not enough get the same answer.
    """

    async def check(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> None:
        if given is None:
            raise HTTPException(
                401,
                f"An API key is needed: send Authorization: Bearer KEY, with a key of the role {needed}",
                {"WWW-Authenticate": "Bearer"},
            )
        if not may(hashes, given.credentials, needed):
            log.warning("api_key.refused", method=request.method, path=request.url.path, needed=needed)
            raise HTTPException(403, f"This API key may not do that: a key of the role {needed} is needed")

    return check
