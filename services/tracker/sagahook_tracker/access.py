"""Routes that nobody may call without a key, whatever else is configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from sagahook.runtime.http_errors import ApiError
from sagahook.runtime.keys import Role, requires

_ENOUGH: Mapping[Role, tuple[Role, ...]] = {
    "reader": ("reader", "operator", "admin"),
    "operator": ("operator", "admin"),
    "admin": ("admin",),
}


def needs_key(hashes: Mapping[Role, str], needed: Role) -> Callable[..., Awaitable[None]]:
    """A dependency as `requires` gives it; where no key would do, it says what to configure."""
    if any(role in hashes for role in _ENOUGH[needed]):
        return requires(hashes, needed)

    async def refuse() -> None:
        raise ApiError(
            403,
            f"This is switched off, because no key of the role {needed} is configured: set SAGAHOOK_API_KEYS to a "
            f'JSON object such as {{"{needed}": "<SHA-256 of the key, in hex>"}}',
        )

    return refuse
