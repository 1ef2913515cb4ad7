"""What people do to endpoints: load → decide → keep."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import SecretStr

from sagahook.runtime.clock import Clock
from sagahook.runtime.logging import get_logger
from sagahook_notifier.adapters.endpoint_store import EndpointStore
from sagahook_notifier.domain.credentials import Credentials, Secret, TooManySecrets
from sagahook_notifier.domain.endpoints import (
    TEST_TYPE,
    Endpoint,
    EndpointOptions,
    with_kept_headers,
)
from sagahook_notifier.domain.payloads import render_plain
from sagahook_notifier.domain.signing import KEY_BYTES, Scheme, new_secret, scheme_of
from sagahook_schemas.identity import delivery_id

log = get_logger(__name__)

LONGEST_OVERLAP = timedelta(days=30)

Begin = Callable[[], Awaitable[None]]
"""Called once it is known that an act makes sense, and before anything is done: it is written then who acts. What it
raises passes through."""


class NoSuchEndpoint(Exception):
    """404."""


class Refused(Exception):
    """The endpoint's state does not allow it: the text says what to do first."""


class Invalid(Exception):
    """What was asked for cannot be: the text says what is wrong with it."""


def new_id() -> str:
    """For an endpoint."""
    return f"ep-{uuid4()}"


class Endpoints:
    """configured: the ids of those that the configuration of this process has; they are changed there."""

    def __init__(self, store: EndpointStore, clock: Clock, configured: Collection[str]) -> None:
        self._store = store
        self._clock = clock
        self._configured = frozenset(configured)

    async def all(self, *, most: int, skipped: int) -> list[Endpoint]:
        return await self._store.all(most=most, skipped=skipped)

    async def get(self, id: str) -> Endpoint:
        """Raises NoSuchEndpoint."""
        found = await self._store.find(id)
        if found is None:
            raise NoSuchEndpoint(id)
        return found

    async def add(
        self, options: EndpointOptions, begin: Begin, *, id: str, secret: SecretStr | None, scheme: Scheme
    ) -> tuple[Endpoint, SecretStr]:
        """The new endpoint and its secret. secret None: made here. Raises Refused or Invalid."""
        now = self._clock.now()
        made = secret or _drawn(scheme)
        headers = _headers(options, {})
        endpoint = Endpoint(
            id=id,
            origin="api",
            options=options,
            credentials=Credentials((Secret(made, now),), headers),
            created_at=now,
            updated_at=now,
        )
        taken = Refused(f"there is an endpoint {id}: choose another id, or change that one")
        if id in self._configured or await self._store.find(id) is not None:
            raise taken
        await begin()
        if not await self._store.add(endpoint):
            raise taken
        log.info("endpoint.added", endpoint=id)
        return endpoint, made

    async def change(self, id: str, options: Mapping[str, Any], begin: Begin) -> Endpoint:
        """options: those of EndpointOptions that are to change, valid. Raises NoSuchEndpoint, Refused or Invalid."""
        now = self._clock.now()

        def changed(before: Endpoint) -> Endpoint:
            after = before.options.model_copy(update=dict(options))
            credentials = before.credentials
            if "headers" in options:
                credentials = _readable(before)
                credentials = replace(credentials, headers=_headers(after, credentials.headers))
            revived = after.enabled and (not before.options.enabled or after.url != before.options.url)
            return replace(
                before,
                origin="api",
                options=after,
                credentials=credentials,
                updated_at=now,
                disabled_at=None if revived else before.disabled_at,
                disabled_reason=None if revived else before.disabled_reason,
            )

        return await self._changed(id, changed, "endpoint.changed", begin)

    async def rotate(
        self, id: str, begin: Begin, *, secret: SecretStr | None, scheme: Scheme | None, overlap: timedelta
    ) -> tuple[Endpoint, SecretStr]:
        """secret None: one is made; scheme None: of that of the secret before. overlap: how long those before it go on
        signing beside it. Raises NoSuchEndpoint or Refused."""
        now, held = self._clock.now(), (await self.get(id)).credentials
        new = secret or _drawn(scheme or scheme_of(_newest(held)))

        def rotated(before: Endpoint) -> Endpoint:
            # Where no key opens the old ones they are lost, and a new one is the way out.
            held = before.credentials or Credentials()
            try:
                return replace(before, credentials=held.rotated(new, now, now + overlap), updated_at=now)
            except TooManySecrets as many:
                raise Refused(str(many)) from None

        return await self._changed(id, rotated, "endpoint.rotated", begin), new

    async def enable(self, id: str, begin: Begin) -> Endpoint:
        """Also one that was switched off because it failed. Raises NoSuchEndpoint or Refused."""
        now = self._clock.now()
        found = await self.get(id)
        if found.origin == "notify_url":
            await begin()
            await self._store.enable_notify_url(id, now)
            return await self.get(id)

        def enabled(before: Endpoint) -> Endpoint:
            if id in self._configured and not before.options.enabled:
                raise Refused(f"{id} is switched off by the configuration: enable it in SAGAHOOK_ENDPOINTS")
            options = before.options.model_copy(update={"enabled": True})
            return replace(before, options=options, updated_at=now, disabled_at=None, disabled_reason=None)

        enabled(found)
        await begin()
        after = await self._store.change(id, enabled)
        if after is None:
            raise NoSuchEndpoint(id)
        log.info("endpoint.enabled", endpoint=id)
        return after

    async def remove(self, id: str, begin: Begin) -> None:
        """Raises NoSuchEndpoint or Refused."""
        self._refuse_configured(await self.get(id))
        await begin()
        await self._store.remove(id, self._clock.now())
        log.info("endpoint.removed", endpoint=id)

    async def test(self, id: str, begin: Begin) -> str:
        """The id of a delivery that says nothing but that it is a test. Raises NoSuchEndpoint or Refused."""
        endpoint, now = await self.get(id), self._clock.now()
        if not endpoint.active:
            raise Refused(f"{id} is switched off, so nothing would be sent: enable it first")
        event_id = f"test/{uuid4()}"
        data = {
            "message": f"a test of the endpoint {id}: nothing happened",
            "endpoint_id": id,
            "event_id": event_id,
        }
        body, content_type = render_plain(endpoint.options.payload_format, TEST_TYPE, now, event_id, data)
        made = delivery_id(event_id, id)
        await begin()
        await self._store.add_delivery(
            id=made,
            endpoint_id=id,
            event_id=event_id,
            event_type=TEST_TYPE,
            body=body,
            content_type=content_type,
            now=now,
        )
        return made

    async def statistics(self, id: str, hours: int) -> Mapping[str, Any]:
        """Raises NoSuchEndpoint."""
        await self.get(id)
        since = self._since(hours)
        return {"since": since, **await self._store.statistics(id, since)}

    def _since(self, hours: int) -> datetime:
        return self._clock.now() - timedelta(hours=hours)

    async def _changed(
        self, id: str, change: Callable[[Endpoint], Endpoint], what: str, begin: Begin
    ) -> Endpoint:
        """Raises NoSuchEndpoint or Refused, and what `change` raises."""

        def checked(before: Endpoint) -> Endpoint:
            self._refuse_configured(before)
            return change(before)

        checked(await self.get(id))
        await begin()
        after = await self._store.change(id, checked)
        if after is None:
            raise NoSuchEndpoint(id)
        log.info(what, endpoint=id)
        return after

    def _refuse_configured(self, endpoint: Endpoint) -> None:
        if endpoint.id in self._configured:
            raise Refused(f"{endpoint.id} is configured: change it in SAGAHOOK_ENDPOINTS")
        if endpoint.origin == "notify_url":
            raise Refused(f"{endpoint.id} is a URL that webhooks of a source named: it cannot be changed")


def _drawn(scheme: Scheme) -> SecretStr:
    return SecretStr(new_secret(scheme, secrets.token_bytes(KEY_BYTES)))


def _newest(held: Credentials | None) -> str:
    return held.secrets[0].value.get_secret_value() if held and held.secrets else ""


def _headers(options: EndpointOptions, held: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    """Raises Invalid."""
    try:
        return with_kept_headers(options.headers, held)
    except ValueError as wrong:
        raise Invalid(str(wrong)) from None


def _readable(endpoint: Endpoint) -> Credentials:
    """Raises Refused."""
    if endpoint.credentials is None:
        raise Refused(
            f"the secrets of {endpoint.id} are encrypted by a key that is not configured: give it back as "
            "SAGAHOOK_SECRET_KEY_OTHER, or rotate the secret first"
        )
    return endpoint.credentials
