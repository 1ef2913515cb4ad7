"""Whether a request may be taken, and that its source sent it: every check but those of the event itself."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sagahook.runtime.addresses import Address, Network, client_address, client_name, is_allowed
from sagahook.runtime.buckets import Buckets
from sagahook.runtime.clock import Clock
from sagahook.runtime.settings import ProxyHeader
from sagahook_ingest.answers import Scope
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.encodings import refuse_encoded
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.reading import Request
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.signatures import Unsigned
from sagahook_ingest.domain.sources import KnownSource, KnownSources
from sagahook_ingest.door import Door
from sagahook_ingest.routes import Route


class Limits(NamedTuple):
    """body: bytes. bodies: of all that are coming in at once. batch: events. proxies: whose word on where a request
    comes from is believed."""

    body: int
    bodies: int
    batch: int
    proxies: Sequence[Network] = ()
    proxy_header: ProxyHeader = "x-forwarded-for"


class Admission:
    """In three steps: who asks, what the head says, what the body is."""

    def __init__(self, sources: KnownSources, clock: Clock, limits: Limits, door: Door) -> None:
        self.sources = sources
        self.limits = limits
        self.door = door
        self._clock = clock
        self._buckets = Buckets("webhooks", "from this client for this source")

    def source_of(self, route: Route, scope: Scope) -> KnownSource:
        """The source, if this client may send to it now. Raises Refusal, TooMany, Unavailable."""
        if scope["method"] not in route.methods:
            allowed = ", ".join(route.methods)
            raise Refusal(405, f"Webhooks are sent with POST; here there is {allowed}", {"Allow": allowed})
        self.door.open()
        source = self.known(route)
        if source.networks or source.rate is not None:
            client = self.client(scope)
            if not is_allowed(client, source.networks):
                raise Refusal(
                    403,
                    f"The source {source.name!r} takes no webhooks from the address {client_name(client)}: name it in "
                    "the source's allowed_ips",
                )
            if source.rate is not None:
                self._buckets.take((source.name, client_name(client)), source.rate, time.monotonic())
        return source

    def known(self, route: Route) -> KnownSource:
        """Raises Refusal."""
        source = self.sources.get(route.source)
        if source is None or (route.is_github and source.scheme_name != "github"):
            raise _unknown(route)
        return source

    def expect(
        self,
        source: KnownSource,
        correlation_id: str,
        headers: Headers,
        repeated: Collection[bytes],
        scope: Scope,
    ) -> Request:
        """The request without its body. Raises Refusal."""
        if repeated:
            _refuse_repeated(repeated, source)
        notify_url = ""
        if scope["query_string"] or b"x-notify-url" in headers:
            notify_url = requested.notify_url(headers, scope["query_string"])
            source.check_notify_url(notify_url)
        content_type = requested.content_type(headers)
        requested.check_forms(headers)
        if source.scheme_name == "bearer" and scope["query_string"]:
            headers = requested.with_access_token(headers, scope["query_string"])
        traceparent = requested.traceparent(headers)
        return Request(
            source, headers, scope["headers"], correlation_id, content_type, notify_url, traceparent
        )

    def limit(self, source: KnownSource) -> int:
        """Bytes of a body."""
        return source.body_limit or self.limits.body

    def complete(self, request: Request, body: bytes) -> None:
        """It is whole now, and it is sure that the source sent it. Raises Refusal."""
        refuse_encoded(request.headers)
        self.believe(request, body)
        scheme = request.source.scheme
        if scheme is not None:
            scheme.verify(request.headers, body, request.time)

    def believe(self, request: Request, body: bytes) -> None:
        """It is whole now, and nobody need have signed it."""
        request.body, request.time = body, self._clock.now()

    def client(self, scope: Scope) -> Address | None:
        peer = scope.get("client")
        return client_address(
            peer[0] if peer else None, scope["headers"], self.limits.proxies, self.limits.proxy_header
        )


def _unknown(route: Route) -> Refusal:
    if route.is_github:
        return Refusal(
            404, "GitHub's webhooks are not set up here: set GITHUB_WEBHOOK_SECRET, or a source 'github'"
        )
    return Refusal(
        404,
        f"The source {route.source[:100]!r} is unknown: deploy a saga with a trigger for it, or name it in "
        "SAGAHOOK_SOURCES",
    )


def _refuse_repeated(repeated: Collection[bytes], source: KnownSource) -> None:
    """Raises Refusal; Unsigned where it is part of a signature."""
    scheme = source.scheme
    signed = sorted(name for name in repeated if scheme is not None and name in scheme.reads)
    if signed:
        raise Unsigned(f"The header {signed[0].decode()} was sent twice: send it once")
    requested.refuse_repeated(repeated, source.reads)
