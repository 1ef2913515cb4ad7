"""What people do to endpoints: load → decide → keep."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
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
from sagahook_notifier.domain.signing import KEY_BYTES, Scheme, new_secret
from sagahook_schemas.identity import delivery_id

log = get_logger(__name__)

LONGEST_OVERLAP = timedelta(days=30)


class NoSuchEndpoint(Exception):
    """404."""


class Refused(Exception):
    """The endpoint's state does not allow it: the text says what to do first."""


class Invalid(Exception):
    """What was asked for cannot be: the text says what is wrong with it."""


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
        self, options: EndpointOptions, *, id: str | None, secret: SecretStr | None, scheme: Scheme
    ) -> tuple[Endpoint, SecretStr]:
        """The new endpoint and its secret. id, secret None: made here. Raises Refused or Invalid."""
        now = self._clock.now()
        made = secret or _drawn(scheme)
        headers = _headers(options, {})
        endpoint = Endpoint(
            id=id or f"ep-{uuid4()}",
            origin="api",
            options=options,
            credentials=Credentials((Secret(made, now),), headers),
            created_at=now,
            updated_at=now,
        )
        if endpoint.id in self._configured or not await self._store.add(endpoint):
            raise Refused(f"there is an endpoint {endpoint.id}: choose another id, or change that one")
        log.info("endpoint.added", endpoint=endpoint.id)
        return endpoint, made

    async def change(self, id: str, options: Mapping[str, Any]) -> Endpoint:
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

        return await self._changed(id, changed, "endpoint.changed")

    async def rotate(
        self, id: str, *, secret: SecretStr | None, scheme: Scheme, overlap: timedelta
    ) -> tuple[Endpoint, SecretStr]:
        """secret None: one is made. overlap: how long those before it go on signing beside it. Raises NoSuchEndpoint or
        Refused."""
        now, new = self._clock.now(), secret or _drawn(scheme)

        def rotated(before: Endpoint) -> Endpoint:
            # Where no key opens the old ones they are lost, and a new one is the way out.
            held = before.credentials or Credentials()
            try:
                return replace(before, credentials=held.rotated(new, now, now + overlap), updated_at=now)
            except TooManySecrets as many:
                raise Refused(str(many)) from None

        return await self._changed(id, rotated, "endpoint.rotated"), new

    async def enable(self, id: str) -> Endpoint:
        """Also one that was switched off because it failed. Raises NoSuchEndpoint or Refused."""
        now = self._clock.now()
        found = await self.get(id)
        if found.origin == "notify_url":
            await self._store.enable_notify_url(id, now)
            return await self.get(id)

        def enabled(before: Endpoint) -> Endpoint:
            if id in self._configured and not before.options.enabled:
                raise Refused(f"{id} is switched off by the configuration: enable it in SAGAHOOK_ENDPOINTS")
            options = before.options.model_copy(update={"enabled": True})
            return replace(before, options=options, updated_at=now, disabled_at=None, disabled_reason=None)

        after = await self._store.change(id, enabled)
        if after is None:
            raise NoSuchEndpoint(id)
        log.info("endpoint.enabled", endpoint=id)
        return after

    async def remove(self, id: str) -> None:
        """Raises NoSuchEndpoint or Refused."""
        self._refuse_configured(await self.get(id))
        await self._store.remove(id, self._clock.now())
        log.info("endpoint.removed", endpoint=id)

    async def test(self, id: str) -> str:
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

    async def _changed(self, id: str, change: Any, what: str) -> Endpoint:
        """Raises NoSuchEndpoint or Refused, and what `change` raises."""

        def checked(before: Endpoint) -> Endpoint:
            self._refuse_configured(before)
            after: Endpoint = change(before)
            return after

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
