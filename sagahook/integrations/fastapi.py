"""FastAPI.

    app = FastAPI()
    saga = SagaFastAPI(app)

    @app.post("/orders")
    async def order(order: Order) -> WebhookStatus:
        return await saga.run("order_created", order.model_dump())

What is to be asked of callers before the webhooks' routes are FastAPI's own dependencies:
`app.include_router(SagaFastAPI().router, dependencies=[…])`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import JsonValue
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagahook.client import AsyncClient, SagahookError, WebhookAccepted
from sagahook.client.models import SagaDetails, WebhookStatus
from sagahook.integrations.asgi import Application, header
from sagahook.integrations.correlation import begin_request, end_request
from sagahook.integrations.errors import TOLD, told
from sagahook.integrations.forms import Form, publish
from sagahook.integrations.gateway import Gateway
from sagahook.runtime.http_errors import CORRELATION_HEADER, ErrorBody

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Its body or its headers are wrong"},
    401: {"model": ErrorBody, "description": "Its signature is missing or wrong"},
    404: {"model": ErrorBody, "description": "The source is unknown"},
    413: {"model": ErrorBody, "description": "It is larger than the source may send"},
    503: {"model": ErrorBody, "description": "Kafka is away: send it again after `Retry-After` seconds"},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody}, 503: {"model": ErrorBody}}


class SagaFastAPI:
    """form: `publish()` unless it is given. With an app all is added to it: routes, correlation ids, errors; without
    one its parts are, as the application includes them: `router`, `CorrelationMiddleware`, `install_errors`.

    It works in the server's own loop, from the application's start to its end.
    """

    def __init__(
        self,
        app: FastAPI | None = None,
        form: Form | None = None,
        *,
        prefix: str = "/webhooks",
        health: str | None = "/health",
    ) -> None:
        """Raises WrongSettings."""
        self._form = form or publish()
        self._form.check()
        self._gateway: Gateway | None = None
        self.router = self._routes(prefix, health)
        if app is not None:
            app.include_router(self.router)
            app.add_middleware(CorrelationMiddleware)
            install_errors(app)

    @property
    def client(self) -> AsyncClient:
        """Every question of the status API, and every act. Raises SagahookError."""
        return self._running().client

    async def send(
        self,
        source: str,
        event: JsonValue,
        *,
        event_type: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookAccepted:
        """An event of the application's own; returns when Kafka has it durably. correlation_id: by default that of the
        request that is served. Raises SagahookError."""
        return await self._running().send(
            source,
            event,
            event_type=event_type,
            correlation_id=correlation_id,
            idempotency_key=idempotency_key,
        )

    async def run(
        self,
        source: str,
        event: JsonValue,
        *,
        timeout: float = 30.0,
        event_type: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookStatus:
        """As `send`, and what became of it, once that is final. Raises NotFinal after `timeout` seconds."""
        return await self._running().run(
            source,
            event,
            timeout=timeout,
            event_type=event_type,
            correlation_id=correlation_id,
            idempotency_key=idempotency_key,
        )

    def _running(self) -> Gateway:
        if self._gateway is None:
            raise SagahookError("The application has not started yet, or has ended: nothing can be sent")
        return self._gateway

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        gateway = self._form.open()
        async with gateway.running():
            self._gateway = gateway
            try:
                yield
            finally:
                self._gateway = None

    def _routes(self, prefix: str, health: str | None) -> APIRouter:
        router = APIRouter(tags=["webhooks"], lifespan=self._lifespan)

        @router.post(
            f"{prefix}/{{source}}", status_code=202, response_model=WebhookAccepted, responses=_REFUSALS
        )
        async def send_webhook(source: str) -> Response:
            """Answered when Kafka holds the event durably."""
            return _Answered(self._running().webhook(source))

        @router.options(f"{prefix}/{{source}}", include_in_schema=False)
        async def ask_whether_to_send(source: str) -> Response:
            return _Answered(self._running().webhook(source))

        @router.post(f"{prefix}/{{source}}/batch", status_code=202, response_model=None, responses=_REFUSALS)
        async def send_batch(source: str) -> Response:
            """A JSON array of events, each with an outcome of its own."""
            return _Answered(self._running().batch(source))

        @router.get(
            f"{prefix}/{{source}}/status/{{correlation_id}}", response_model=WebhookStatus, responses=_UNKNOWN
        )
        async def webhook_status(source: str, correlation_id: str) -> Response:
            """What became of everything that `source` sent under the correlation id; `?wait=30` answers when it is
            final."""
            return _Answered(self._running().status(source, correlation_id))

        @router.get(f"{prefix}/status/{{saga_id}}", response_model=SagaDetails, responses=_UNKNOWN)
        async def saga_status(saga_id: str) -> Response:
            """The newest run of a saga."""
            return _Answered(self._running().saga(saga_id))

        if health is not None:

            @router.get(health, tags=["health"])
            async def health_report() -> Response:
                """`{status, timestamp, checks, uptime}`"""
                return _Answered(self._running().health())

        return router


class CorrelationMiddleware:
    """Takes each request's `X-Correlation-ID`, or makes one, and echoes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = begin_request(header(scope, CORRELATION_HEADER) or None)

        async def echoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault(CORRELATION_HEADER, correlation_id)
            await send(message)

        try:
            await self._app(scope, receive, echoing)
        finally:
            end_request()


def install_errors(app: FastAPI) -> None:
    """A handler whose call of sagahook fails because something is away is answered 503 with `Retry-After`."""

    async def refused(request: Request, raised: Exception) -> Response:
        return told(raised, request.scope)

    for kind in TOLD:
        app.add_exception_handler(kind, refused)


class _Answered(Response):
    """What another application answers: it reads the request's body itself, within its limits."""

    def __init__(self, app: Application) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
