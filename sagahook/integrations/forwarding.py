"""The application hands webhooks on, byte for byte, to an ingest that runs elsewhere, which alone judges them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from orjson import JSONDecodeError, loads
from pydantic import JsonValue

from sagahook.client import AsyncClient, Unreachable, WebhookAccepted
from sagahook.client.calls import Call, path
from sagahook.integrations.asgi import Application, Receive, Scope, Send, content_length, correlated, header
from sagahook.integrations.correlation import current_correlation_id
from sagahook.integrations.gateway import Gateway, pass_on
from sagahook.runtime.health import Health, Status
from sagahook.runtime.ids import new_event_id
from sagahook_ingest.answers import refused, response_of
from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.intake import Intake, SenderGone
from sagahook_schemas.topics import BODY_LIMIT

_PATIENCE = 5.0
"""Seconds for which an event of the application's own is sent again where ingest is away."""
_BODIES = 128 * 1024 * 1024
"""Bytes that the bodies which are coming in may take together."""
_NOT_HANDED_ON = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-forwarded-for",
    }
)
"""What is between two neighbours (RFC 9110 §7.6.1), what is written anew, and what a sender could have made up where
ingest believes this application of whom it has a request."""


class Forwarding(Gateway):
    def __init__(self, url: str, key: str | None) -> None:
        """Raises SagahookError."""
        super().__init__(url, key)
        # ingest asks for no key. Whoever waits for an answer is not kept for longer than by an ingest of their own.
        self._ingest = AsyncClient(url, patience=_PATIENCE)
        self._intake = Intake(_BODIES)
        self._health = Health()
        self._health.add("ingest", self._ingest_status)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._ingest.close()
            await self.close()

    def webhook(self, source: str) -> Application:
        return self._handing_on(path("/webhooks/{source}", source=source), together=True)

    def batch(self, source: str) -> Application:
        return self._handing_on(path("/webhooks/{source}/batch", source=source), together=False)

    async def send(
        self,
        source: str,
        event: JsonValue,
        *,
        event_type: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookAccepted:
        return await self._ingest.send(
            source,
            event,
            event_type=event_type,
            correlation_id=correlation_id or current_correlation_id() or None,
            idempotency_key=idempotency_key,
        )

    async def report(self) -> Mapping[str, Any]:
        return await self._health.report()

    def _handing_on(self, target: str, *, together: bool) -> Application:
        """together: all that is sent has one correlation id."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                body = await self._intake.read(receive, content_length(scope), BODY_LIMIT)
            except SenderGone:
                return
            except (Refusal, Unavailable) as raised:
                told = refused(raised, current_correlation_id() or new_event_id())
                response = response_of(told, scope["path"], header(scope, "Accept").encode(), closing=False)
                await response(scope, receive, send)
                return
            headers = _handed_on(correlated(scope) if together else scope)
            query = scope["query_string"].decode("latin-1")
            whole = f"{target}?{query}" if query else target
            call = Call(scope["method"], whole, str, content=body, headers=headers)
            await pass_on(self._ingest, call, scope, receive, send)

        return answer

    async def _ingest_status(self) -> Status:
        try:
            answered = await self._ingest.exchange(Call("GET", "/health", str))
            status = loads(answered.content)["status"]
        except (Unreachable, JSONDecodeError, KeyError, TypeError):
            return "unhealthy"
        return status if status in ("healthy", "degraded") else "unhealthy"


def _handed_on(scope: Scope) -> dict[str, str]:
    """Under the names that the client itself uses, so that these take their place."""
    headers = {
        name.decode("latin-1").title(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name not in _NOT_HANDED_ON
    }
    passed = header(scope, "X-Forwarded-For")
    if scope.get("client"):
        peer = scope["client"][0]
        headers["X-Forwarded-For"] = f"{passed}, {peer}" if passed else peer
    return headers
