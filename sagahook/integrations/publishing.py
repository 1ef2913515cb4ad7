"""The application is an ingest: its webhooks are checked, published and answered by the code that ingest runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from orjson import dumps
from pydantic import JsonValue, SecretStr

from sagahook.client import WebhookAccepted, sending
from sagahook.client.errors import refusal
from sagahook.integrations.asgi import Application, Receive, Scope, Send, correlated
from sagahook.integrations.correlation import current_correlation_id
from sagahook.integrations.gateway import Gateway
from sagahook.integrations.logs import log_as_the_application_does
from sagahook.runtime.logging import get_logger
from sagahook_ingest.answers import refused
from sagahook_ingest.routes import PREFIX, Route, route_of
from sagahook_ingest.settings import IngestSettings
from sagahook_ingest.wiring import Ingest

log = get_logger(__name__)

_ANEW_SECONDS = 1.0


class PublishSettings(IngestSettings):
    """url: where the status API is. key: what the application's own questions are asked with."""

    url: str = ""
    key: SecretStr | None = None


class Publishing(Gateway):
    """Raises ValueError where a source's secret has not its scheme's form."""

    def __init__(self, settings: PublishSettings) -> None:
        super().__init__(settings.url, settings.key.get_secret_value() if settings.key else None)
        self._settings = settings
        self._ingest = Ingest(settings)
        self._stopping = asyncio.Event()
        self._patient_until = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log_as_the_application_does()
        self._patient_until = asyncio.get_running_loop().time() + self._settings.publish_timeout
        working = asyncio.create_task(self._work(), name="sagahook")
        try:
            yield
        finally:
            self._stopping.set()
            await working
            await self.close()

    def webhook(self, source: str) -> Application:
        return self._taking(route_of(PREFIX + source))

    def batch(self, source: str) -> Application:
        return self._taking(route_of(f"{PREFIX}{source}/batch"))

    async def send(
        self,
        source: str,
        event: JsonValue,
        *,
        event_type: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookAccepted:
        correlation_id = correlation_id or current_correlation_id()
        call = sending.send(source, event, event_type=event_type, correlation_id=correlation_id or None)
        headers = dict(call.headers)
        # The one that the client makes is for a request that is sent again by itself; this is none.
        headers.pop("Idempotency-Key")
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        await self._until_open()
        try:
            answer = await self._ingest.accept.take(
                source,
                call.content or b"",
                {name.lower().encode(): value.encode() for name, value in headers.items()},
            )
        except Exception as raised:
            told = refused(raised, correlation_id)
            if told.status == 500:
                raise
            body = dumps(
                {"error": told.error, "path": call.path, "correlation_id": told.correlation_id or None}
            )
            raise refusal(told.status, told.headers, body) from raised
        return WebhookAccepted.model_validate(answer.body)

    async def report(self) -> Mapping[str, Any]:
        return await self._ingest.health.report()

    def _taking(self, route: Route | None) -> Application:
        if route is None:
            raise ValueError("A source has a name, without a slash in it")

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._until_open()
            # Each event of a batch has a correlation id of its own, unless the sender gives one.
            asked = scope if route.is_batch else correlated(scope)
            await self._ingest.accept(route, asked, receive, send)

        return answer

    async def _until_open(self) -> None:
        """What comes first need not be refused: it waits for Kafka as long as it would if all had been there. Later,
        and when that time is over, ingest itself says that it is not there yet."""
        left = self._patient_until - asyncio.get_running_loop().time()
        if left > 0 and not self._ingest.opened.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ingest.opened.wait(), left)

    async def _work(self) -> None:
        """Until it is told to stop, and has answered what it took. Where a service would end, for its supervisor to
        start it anew, a new one begins here: the application goes on."""
        while not self._stopping.is_set():
            try:
                async with self._ingest.working():
                    await self._ingest.run(self._stopping)
            except Exception as failed:
                log.error("ingest.starts_anew", error=repr(failed))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _ANEW_SECONDS)
                self._ingest = Ingest(self._settings)
