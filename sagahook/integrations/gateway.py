"""What the routes of every adapter are answered by, as ASGI applications, and what an application's code asks for.

One gateway belongs to one event loop: the server's own, or that of a thread beside a server that waits (background.py).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from orjson import JSONDecodeError, dumps, loads
from pydantic import JsonValue

from sagahook.client import AsyncClient, NotFinal, SagahookError, Unreachable, WebhookAccepted
from sagahook.client.calls import Call, path
from sagahook.client.models import WebhookStatus
from sagahook.integrations.asgi import Application, Receive, Scope, Send, error, header, reply
from sagahook.runtime.http_errors import CORRELATION_HEADER

_AWAY_SECONDS = 2
"""After which a caller is to ask again where the API did not answer."""
_ASKED_SECONDS = 45.0
"""For an answer of the API, which waits up to 30 on purpose."""
_BEYOND = 5.0
"""What the answer to a wait may take longer than the wait itself, in seconds."""
_HANDED_BACK = (
    "Content-Type",
    "Retry-After",
    CORRELATION_HEADER,
    "WWW-Authenticate",
    "Allow",
    "RateLimit",
    "RateLimit-Policy",
    "WebHook-Allowed-Origin",
    "WebHook-Allowed-Rate",
)


class Gateway(ABC):
    """url: where the API is; "" where there is none. key: what the application's own questions are asked with; what
    others ask by the routes is asked with their keys."""

    def __init__(self, url: str, key: str | None) -> None:
        self._client = AsyncClient(url, key) if url else None
        self._passing = AsyncClient(url, timeout=_ASKED_SECONDS) if url else None

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """Within the block it does its work; at its end what was accepted is answered."""

    @abstractmethod
    def webhook(self, source: str) -> Application:
        """`POST` and `OPTIONS /webhooks/{source}`."""

    @abstractmethod
    def batch(self, source: str) -> Application:
        """`POST /webhooks/{source}/batch`."""

    @abstractmethod
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

    @abstractmethod
    async def report(self) -> Mapping[str, Any]:
        """As `/health` (api.md §7)."""

    @property
    def client(self) -> AsyncClient:
        """Raises SagahookError."""
        if self._client is None:
            raise SagahookError("It is not known where the status API is: set SAGAHOOK_URL")
        return self._client

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
        client = self.client
        try:
            async with asyncio.timeout(timeout + _BEYOND):
                accepted = await self.send(
                    source,
                    event,
                    event_type=event_type,
                    correlation_id=correlation_id,
                    idempotency_key=idempotency_key,
                )
                return await client.wait_until_final(source, accepted.correlation_id, timeout=timeout)
        except TimeoutError:
            raise NotFinal(
                f"What became of the event for {source!r} is not known after {timeout:g} s", None
            ) from None

    def status(self, source: str, correlation_id: str) -> Application:
        """`GET /webhooks/{source}/status/{correlation_id}`."""
        return self._asked(
            path("/webhooks/{source}/status/{correlation_id}", source=source, correlation_id=correlation_id)
        )

    def saga(self, saga_id: str) -> Application:
        """`GET /webhooks/status/{saga_id}`."""
        return self._asked(path("/webhooks/status/{saga_id}", saga_id=saga_id))

    def health(self) -> Application:
        """`GET /health`."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            report = await self.report()
            status = 503 if report["status"] == "unhealthy" else 200
            await reply(send, status, {"Content-Type": "application/json"}, dumps(report))

        return answer

    async def close(self) -> None:
        for each in (self._client, self._passing):
            if each is not None:
                await each.close()

    def _asked(self, target: str) -> Application:
        """What the API answers, to whoever asks, with the key that they have."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if self._passing is None:
                refusal = error(
                    scope, 404, "There are no statuses here: SAGAHOOK_URL does not say where the API is"
                )
                await refusal(scope, receive, send)
                return
            query = scope["query_string"].decode("latin-1")
            given = {name: header(scope, name) for name in ("Authorization", "Accept")}
            headers = {name: value for name, value in given.items() if value}
            call = Call("GET", f"{target}?{query}" if query else target, str, headers=headers)
            await pass_on(self._passing, call, scope, receive, send)

        return answer


async def pass_on(api: AsyncClient, call: Call[str], scope: Scope, receive: Receive, send: Send) -> None:
    """Asked once, and answered as it is answered."""
    try:
        answered = await api.exchange(call)
    except Unreachable as silent:
        refusal = error(scope, 503, f"{silent}; send it again", retry_after=_AWAY_SECONDS)
        await refusal(scope, receive, send)
        return
    headers = {name: value for name in _HANDED_BACK if (value := answered.headers.get(name)) is not None}
    content = answered.content if answered.status < 400 else _of_this_path(answered.content, scope["path"])
    await reply(send, answered.status, headers, content)


def _of_this_path(content: bytes, path: str) -> bytes:
    """An error that names the path which was asked for here."""
    try:
        told = loads(content)
    except JSONDecodeError:
        return content
    where = next((name for name in ("path", "instance") if isinstance(told, dict) and name in told), None)
    return content if where is None else dumps({**told, where: path})
