"""Who may call what, and how often (api.md §8): what every route of an API has in front of it.

A key that is unknown, one that has expired and one of a lesser role get one answer, 403, from one path of code, and
draw on one bucket, that of the client's address: nobody learns from an answer, its limits or its time whether a key
exists. 401 says only that no key was sent. A good key draws on its own bucket alone, so that nobody who shares an
address with a guesser, or behind the same proxy, is locked out by him.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from sagahook.runtime.addresses import client_address, client_name
from sagahook.runtime.api_keys import ApiKey, Role, find, limit_of
from sagahook.runtime.audit import Audit
from sagahook.runtime.buckets import Buckets, TooMany
from sagahook.runtime.clock import Clock
from sagahook.runtime.http_errors import ApiError, requested_correlation_id
from sagahook.runtime.settings import ApiSettings

Guard = Callable[..., Awaitable[None]]
"""A dependency of routes: it lets the call through, or raises ApiError."""

_BEARER = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="`Authorization: Bearer KEY`, with an API key"
)
_Given = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


@dataclass(frozen=True, slots=True)
class Caller:
    """key: None where none was needed, or none that is known was sent. action: what is asked for, by its name in the
    OpenAPI document. client: the name of the address."""

    key: ApiKey | None
    action: str
    client: str
    correlation_id: str

    @property
    def actor(self) -> str:
        """The key, for the audit log."""
        return "" if self.key is None else self.key.id

    @property
    def role(self) -> str:
        return "" if self.key is None else self.key.role


def caller_of(request: Request) -> Caller:
    """Of a route that has a guard."""
    caller: Caller = request.state.caller
    return caller


Calling = Annotated[Caller, Depends(caller_of)]


class Access:
    """The keys and limits of one service."""

    def __init__(self, settings: ApiSettings, audit: Audit, clock: Clock) -> None:
        self._settings = settings
        self._audit = audit
        self._clock = clock
        self._of_keys = Buckets("api", "with this API key")
        self._of_addresses = Buckets("api", "from this client")

    def needs(self, needed: Role) -> Guard:
        """The caller's `Authorization: Bearer KEY` is of the role, or of a higher one. Where no key would do, nobody's
        is."""
        if not any(key.is_enough(needed) for key in self._settings.api_keys):
            return self._switched_off(needed)

        async def check(request: Request, given: _Given) -> None:
            caller = self._caller(request, given)
            if caller.key is None or not caller.key.is_enough(needed):
                raise self._refuse(request, caller, needed, given is None)
            self._take(request, caller, needed)

        return check

    def everyone(self) -> Guard:
        """Whoever calls; who shows a good key has its limit, everyone else that of open routes."""

        async def check(request: Request, given: _Given) -> None:
            self._take(request, self._caller(request, given), "reader")

        return check

    def _switched_off(self, needed: Role) -> Guard:
        async def refuse(request: Request, given: _Given) -> None:
            self._refuse(request, self._caller(request, given), needed, given is None)
            raise ApiError(
                403,
                f"This is switched off, because no key of the role {needed} is configured: set SAGAHOOK_API_KEYS to "
                f'a JSON object such as {{"{needed}": "<SHA-256 of the key, in hex>"}}, or make one with '
                f"`sagahook keys new --role {needed}`",
            )

        return refuse

    def _caller(self, request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
        settings = self._settings
        presented = "" if given is None else given.credentials
        peer = request.client.host if request.client else None
        address = client_address(
            peer, request.scope["headers"], settings.trusted_proxies, settings.proxy_header
        )
        caller = request.state.caller = Caller(
            find(settings.api_keys, presented, self._clock.now()),
            getattr(request.scope.get("route"), "name", ""),
            client_name(address),
            requested_correlation_id(request) or "",
        )
        return caller

    def _take(self, request: Request, caller: Caller, needed: Role) -> None:
        """Raises ApiError."""
        key, now = caller.key, time.monotonic()
        try:
            if key is None:
                self._of_addresses.take(caller.client, self._settings.open_rate_limit, now)
            else:
                self._of_keys.take(key.id, limit_of(key, self._settings.api_rate_limit), now)
        except TooMany as many:
            self._tell(request, caller, needed, "too many requests")
            raise ApiError(429, many.error, headers=many.headers) from None

    def _refuse(self, request: Request, caller: Caller, needed: Role, without: bool) -> ApiError:
        """without: no key was sent. Raises ApiError where too many were refused already."""
        try:
            self._of_addresses.take(
                ("refused", caller.client), self._settings.api_rate_limit, time.monotonic()
            )
        except TooMany as many:
            self._tell(request, caller, needed, "too many refused requests")
            raise ApiError(429, many.error, headers=many.headers) from None
        self._tell(request, caller, needed, "no key" if without else "a key that may not do that")
        if without:
            return ApiError(
                401,
                f"An API key is needed: send Authorization: Bearer KEY, with a key of the role {needed}",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return ApiError(403, f"This API key may not do that: a key of the role {needed} is needed")

    def _tell(self, request: Request, caller: Caller, needed: Role, reason: str) -> None:
        self._audit.refused(
            action=caller.action,
            target=request.url.path[:_LONGEST_TARGET],
            reason=reason,
            actor=caller.actor,
            role=needed,
            client=caller.client,
            correlation_id=caller.correlation_id,
        )


_LONGEST_TARGET = 256
