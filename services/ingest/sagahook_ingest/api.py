"""The routes that take webhooks, as a bare ASGI application in front of FastAPI's router, which costs more than the
rest.

They are in the OpenAPI document all the same (openapi.py), and answer errors in the one documented shape.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from sagahook.runtime import telemetry
from sagahook.runtime.audit import Audit
from sagahook.runtime.clock import Clock
from sagahook.runtime.http_whole import Application, Reply
from sagahook.runtime.ids import new_event_id
from sagahook_ingest import metrics
from sagahook_ingest.admission import Admission, Limits
from sagahook_ingest.answers import Answer, Receive, Scope, Send, refused, response_of, send_answer
from sagahook_ingest.audit import RefusedCalls
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.reading import Request
from sagahook_ingest.domain.sources import KnownSources
from sagahook_ingest.door import Door
from sagahook_ingest.handshake import validate
from sagahook_ingest.intake import Intake, SenderGone, check_size
from sagahook_ingest.openapi import document
from sagahook_ingest.routes import Route, of_source, route_of
from sagahook_ingest.tracing import serve
from sagahook_ingest.whole import Whole


class AcceptWebhooks:
    """An ASGI application for those routes. It answers 503 until it is given a receiver, and again once it drains."""

    def __init__(
        self, sources: KnownSources, clock: Clock, limits: Limits, audit: Audit | None = None
    ) -> None:
        self.door = Door()
        self._admission = Admission(sources, clock, limits, self.door)
        self._intake = Intake(limits.bodies)
        self._refused_calls = RefusedCalls(audit)

    async def __call__(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        admission = self._admission
        headers, repeated = requested.read(scope["headers"], admission.sources.headers)
        correlation_id = ""
        try:
            correlation_id = requested.correlation_id(headers) or ""
            source = admission.source_of(route, scope)
            if scope["method"] == "OPTIONS":
                await send_answer(validate(source, scope["headers"]), send, closing=False)
                return
            request = admission.expect(source, correlation_id, headers, repeated, scope)
            declared = requested.content_length(headers)
            admission.complete(request, await self._intake.read(receive, declared, admission.limit(source)))
        except SenderGone:
            return
        except Exception as raised:
            await self._refuse(raised, route, scope, headers, correlation_id)(scope, receive, send)
            return
        await self._go_on(route, request, correlation_id or new_event_id(), started)(scope, receive, send)

    def answer_whole(self, route: Route, scope: Scope, body: bytes, reply: Reply) -> Application | None:
        """As http_whole has it, of a POST."""
        return Whole(self._admission, self._refuse, self._go_on, route, scope, reply).begin(body)

    async def take(self, name: str, body: bytes, headers: Headers) -> Answer:
        """A webhook that this very process makes, as an application that holds ingest does: the source need not sign
        it, nor keep to its rate or its addresses; else it is checked as any other. Raises Refusal, Unavailable."""
        started = time.perf_counter()
        correlation_id = requested.correlation_id(headers) or new_event_id()
        route, admission = of_source(name), self._admission
        self.door.open()
        source = admission.known(route)
        requested.check_forms(headers)
        check_size(body, admission.limit(source))
        content_type, traceparent = requested.content_type(headers), requested.traceparent(headers)
        request = Request(source, headers, [], correlation_id, content_type, "", traceparent)
        admission.believe(request, body)
        return await self._answer(route, request, correlation_id, started)

    def _go_on(self, route: Route, request: Request, correlation_id: str, started: float) -> Application:
        """What answers a request that passed its checks."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self._answer(route, request, correlation_id, started, send)
            except Exception as raised:
                response = self._refuse(raised, route, scope, request.headers, correlation_id)
                await response(scope, receive, send)

        return answer

    async def _answer(
        self, route: Route, request: Request, correlation_id: str, started: float, send: Send | None = None
    ) -> Answer:
        """Raises Refusal, Unavailable."""
        receiver, limit = self.door.enter(), self._admission.limits.batch
        try:
            if telemetry.spans is None:
                answer = await route.endpoint(request, receiver, correlation_id, limit)
            else:
                answer = await serve(
                    telemetry.spans, route, request, receiver, correlation_id, limit, started
                )
            if send is not None:
                await send_answer(answer, send, closing=self.door.closing)
        finally:
            self.door.leave()
        if answer.accepted or answer.duplicates:
            seconds = time.perf_counter() - started
            metrics.GOOD_ANSWERS.count(request.source.name, seconds, answer.accepted, answer.duplicates)
        return answer

    def _refuse(
        self, raised: Exception, route: Route, scope: Scope, headers: Headers, correlation_id: str
    ) -> Response:
        admission = self._admission
        told = refused(raised, correlation_id or new_event_id())
        self._refused_calls.tell(raised, told, admission.sources.get(route.source), admission.client(scope))
        return response_of(told, scope["path"], headers.get(b"accept", b""), closing=self.door.closing)


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

    def answer_whole(self, scope: Scope, body: bytes, reply: Reply) -> Application | None:
        """As http_whole has it."""
        route = route_of(scope["path"]) if scope["method"] == "POST" else None
        return self if route is None else self.accept.answer_whole(route, scope, body, reply)

    def openapi(self) -> dict[str, Any]:
        return document(super().openapi())
