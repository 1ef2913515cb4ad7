"""The routes that take webhooks, as a bare ASGI application in front of FastAPI's router, which costs more than the
rest.

They are in the OpenAPI document all the same (openapi.py), and answer errors in the one documented shape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi import FastAPI

from sagahook.runtime import telemetry
from sagahook.runtime.addresses import Address, Network, client_address, client_name, is_allowed
from sagahook.runtime.audit import Audit
from sagahook.runtime.buckets import Buckets
from sagahook.runtime.clock import Clock
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.settings import ProxyHeader
from sagahook_ingest import metrics
from sagahook_ingest.answers import Answer, Receive, Scope, Send, refused, send_answer, send_refusal
from sagahook_ingest.audit import RefusedCalls
from sagahook_ingest.domain import github
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.encodings import refuse_encoded
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.reading import Request
from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.domain.signatures import Unsigned
from sagahook_ingest.domain.sources import KnownSource, KnownSources
from sagahook_ingest.endpoints import Endpoint, batch, from_github, one
from sagahook_ingest.handlers import Receiver
from sagahook_ingest.handshake import validate
from sagahook_ingest.intake import Intake, SenderGone, check_size
from sagahook_ingest.openapi import document
from sagahook_ingest.tracing import serve

PREFIX = "/webhooks/"
GITHUB = "/api/v1/webhooks/github"
_BATCH = "/batch"


_SENT = ("POST",)
_ASKED = ("OPTIONS", "POST")


class Route(NamedTuple):
    """methods: which there are."""

    source: str
    endpoint: Endpoint
    methods: tuple[str, ...]

    @property
    def is_batch(self) -> bool:
        return self.endpoint is batch


class Limits(NamedTuple):
    """body: bytes. bodies: of all that are coming in at once. batch: events. proxies: whose word on where a request
    comes from is believed."""

    body: int
    bodies: int
    batch: int
    proxies: Sequence[Network] = ()
    proxy_header: ProxyHeader = "x-forwarded-for"


class AcceptWebhooks:
    """An ASGI application for those routes. It answers 503 until it is given a receiver, and again once it drains."""

    def __init__(
        self, sources: KnownSources, clock: Clock, limits: Limits, audit: Audit | None = None
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._limits = limits
        self._buckets = Buckets("webhooks", "from this client for this source")
        self._intake = Intake(limits.bodies)
        self._refused_calls = RefusedCalls(audit)
        self._answering = 0
        """Requests whose webhooks may be on their way to Kafka."""
        self._idle = asyncio.Event()
        self._draining = False
        self.receiver: Receiver | None = None

    async def drain(self, timeout: float) -> None:
        """Take nothing new, and answer what was taken. timeout: seconds."""
        self._draining = True
        if self._answering:
            try:
                await asyncio.wait_for(self._idle.wait(), timeout)
            except TimeoutError:
                return

    async def __call__(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers, repeated = requested.read(scope["headers"], self._sources.headers)
        correlation_id = ""
        try:
            correlation_id = requested.correlation_id(headers) or ""
            receiver, source = self._admit(route, scope)
            if scope["method"] == "OPTIONS":
                await send_answer(validate(source, scope["headers"]), send, closing=False)
                return
            request = await self._read(source, correlation_id, headers, repeated, scope, receive)
            correlation_id = correlation_id or new_event_id()
            await self._answer(route.endpoint, request, receiver, correlation_id, started, send)
        except SenderGone:
            return
        except Exception as raised:
            told = refused(raised, correlation_id or new_event_id())
            self._refused_calls.tell(raised, told, self._sources.get(route.source), self._client(scope))
            await send_refusal(
                told, scope, headers.get(b"accept", b""), receive, send, closing=self._draining
            )

    def _admit(self, route: Route, scope: Scope) -> tuple[Receiver, KnownSource]:
        """Whether this client may send to this source now. Raises Refusal, Unavailable."""
        if scope["method"] not in route.methods:
            allowed = ", ".join(route.methods)
            raise Refusal(405, f"Webhooks are sent with POST; here there is {allowed}", {"Allow": allowed})
        receiver = self._open()
        source = self._sources.get(route.source)
        if source is None or (route.endpoint is from_github and source.scheme_name != "github"):
            raise _unknown(route)
        if source.networks or source.rate is not None:
            client = self._client(scope)
            if not is_allowed(client, source.networks):
                raise Refusal(
                    403,
                    f"The source {source.name!r} takes no webhooks from the address {client_name(client)}: name it in "
                    "the source's allowed_ips",
                )
            if source.rate is not None:
                self._buckets.take((source.name, client_name(client)), source.rate, time.monotonic())
        return receiver, source

    async def _read(
        self,
        source: KnownSource,
        correlation_id: str,
        headers: Headers,
        repeated: Collection[bytes],
        scope: Scope,
        receive: Receive,
    ) -> Request:
        """The whole request, of which it is sure that the source sent it. Raises Refusal, SenderGone."""
        if repeated:
            _refuse_repeated(repeated, source)
        notify_url = ""
        if scope["query_string"] or b"x-notify-url" in headers:
            notify_url = requested.notify_url(headers, scope["query_string"])
            source.check_notify_url(notify_url)
        content_type = requested.content_type(headers)
        requested.check_forms(headers)
        limit = source.body_limit or self._limits.body
        body = await self._intake.read(receive, requested.content_length(headers), limit)
        refuse_encoded(headers)
        now = self._clock.now()
        if source.scheme is not None:
            if source.scheme_name == "bearer" and scope["query_string"]:
                headers = requested.with_access_token(headers, scope["query_string"])
            source.scheme.verify(headers, body, now)
        return Request(source, headers, scope["headers"], correlation_id, content_type, notify_url, now, body)

    async def take(self, name: str, body: bytes, headers: Headers) -> Answer:
        """A webhook that this very process makes, as an application that holds ingest does: the source need not sign
        it, nor keep to its rate or its addresses; else it is checked as any other. Raises Refusal, Unavailable."""
        started = time.perf_counter()
        correlation_id = requested.correlation_id(headers) or new_event_id()
        receiver = self._open()
        source = self._sources.get(name)
        if source is None:
            raise _unknown(Route(name, one, _SENT))
        requested.check_forms(headers)
        check_size(body, source.body_limit or self._limits.body)
        content_type = requested.content_type(headers)
        now = self._clock.now()
        request = Request(source, headers, [], correlation_id, content_type, "", now, body)
        return await self._answer(one, request, receiver, correlation_id, started)

    async def _answer(
        self,
        endpoint: Endpoint,
        request: Request,
        receiver: Receiver,
        correlation_id: str,
        started: float,
        send: Send | None = None,
    ) -> Answer:
        """What is taken from here on is answered before a stopping replica ends. Raises Refusal, Unavailable."""
        self._open()
        self._answering += 1
        try:
            limit = self._limits.batch
            if telemetry.spans is None:
                answer = await endpoint(request, receiver, correlation_id, limit)
            else:
                answer = await serve(
                    telemetry.spans, endpoint, request, receiver, correlation_id, limit, started
                )
            if send is not None:
                await send_answer(answer, send, closing=self._draining)
        finally:
            self._answering -= 1
            if self._draining and not self._answering:
                self._idle.set()
        if answer.accepted or answer.duplicates:
            seconds = time.perf_counter() - started
            metrics.GOOD_ANSWERS.count(request.source.name, seconds, answer.accepted, answer.duplicates)
        return answer

    def _open(self) -> Receiver:
        """Raises Unavailable."""
        if self._draining:
            raise Unavailable("This replica of ingest is stopping; send again", retry_after=1)
        if self.receiver is None:
            raise Unavailable(
                "ingest is starting: it has not caught up with Kafka yet; send again", retry_after=2
            )
        return self.receiver

    def _client(self, scope: Scope) -> Address | None:
        peer = scope.get("client")
        return client_address(
            peer[0] if peer else None, scope["headers"], self._limits.proxies, self._limits.proxy_header
        )


class IngestApp(FastAPI):
    """FastAPI for everything but the webhooks themselves."""

    def __init__(self, accept: AcceptWebhooks, **options: Any) -> None:
        super().__init__(**options)
        self.accept = accept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            route = route_of(scope["path"])
            if route is not None:
                await self.accept(route, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        return document(super().openapi())


@lru_cache(maxsize=1_024)
def route_of(path: str) -> Route | None:
    """None for what is no webhook's path."""
    if path.startswith(PREFIX):
        name = path[len(PREFIX) :]
        if "/" not in name:
            return Route(name, one, _ASKED) if name else None
        name = name.removesuffix(_BATCH)
        return Route(name, batch, _SENT) if name and "/" not in name and path.endswith(_BATCH) else None
    return Route(github.SOURCE, from_github, _SENT) if path == GITHUB else None


def _unknown(route: Route) -> Refusal:
    if route.endpoint is from_github:
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
