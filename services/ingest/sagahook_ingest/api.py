"""`POST /webhooks/{source}` as a bare ASGI route in front of FastAPI's router, which costs more than the rest.

It is in the OpenAPI document all the same (openapi.py), and answers errors in the one documented shape.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from orjson import dumps

from sagahook.runtime.clock import Clock
from sagahook.runtime.http_errors import CORRELATION_HEADER, error_response
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger
from sagahook_ingest import metrics
from sagahook_ingest.domain import body as bodies
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.domain.sources import KnownSource, KnownSources
from sagahook_ingest.domain.webhook import OnceOnly, Webhook
from sagahook_ingest.handlers import Receipt, Receiver
from sagahook_ingest.openapi import document

log = get_logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFIX = "/webhooks/"
MESSAGE = "Event queued for processing"
_CORRELATION_HEADER = CORRELATION_HEADER.lower().encode()


class SenderGone(Exception):
    """The connection ended before the body did: there is nobody to answer and nothing was written."""


class AcceptWebhooks:
    """An ASGI application for that one route. It answers 503 until it is given a receiver.

    body_limit: bytes.
    """

    def __init__(self, sources: KnownSources, clock: Clock, *, body_limit: int) -> None:
        self._sources = sources
        self._clock = clock
        self._body_limit = body_limit
        self.receiver: Receiver | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        name = scope["path"].removeprefix(PREFIX)
        headers = requested.read(scope["headers"])
        correlation_id = new_event_id()
        try:
            correlation_id = requested.correlation_id(headers) or correlation_id
            receiver, source = self._find(name, scope["method"])
            webhook = await self._read(source, correlation_id, headers, scope["query_string"], receive)
            receipt = await receiver.receive(webhook)
        except SenderGone:
            return
        except Exception as raised:
            label = name if self._sources.get(name) else metrics.UNKNOWN_SOURCE
            await _refuse(raised, label, correlation_id, scope, headers, receive, send)
        else:
            await _accept(source.name, receipt, send)
            metrics.accepted(source.name, receipt.duplicate, time.perf_counter() - started)

    def _find(self, name: str, method: str) -> tuple[Receiver, KnownSource]:
        """Raises Refusal, Unavailable."""
        if method != "POST":
            raise Refusal(405, "Webhooks are sent with POST")
        if self.receiver is None:
            raise Unavailable(
                "ingest is starting: it has not caught up with Kafka yet; send again", retry_after=2
            )
        source = self._sources.get(name)
        if source is None:
            raise Refusal(
                404,
                f"The source {name[:100]!r} is unknown: deploy a saga with a trigger for it, or name it in "
                "SAGAHOOK_SOURCES",
            )
        return self.receiver, source

    async def _read(
        self, source: KnownSource, correlation_id: str, headers: Headers, query: bytes, receive: Receive
    ) -> Webhook:
        """The whole request, checked. Raises Refusal, SenderGone."""
        notify_url = requested.notify_url(headers, query)
        source.check_notify_url(notify_url)
        event_type = requested.event_type(headers)
        content_type = requested.content_type(headers)
        key = requested.idempotency_key(headers)
        raw = await read_body(receive, requested.content_length(headers), self._body_limit)
        parsed = bodies.parse(raw)
        if event_type is None:
            event_type = bodies.event_type(parsed)
        source.check_identity(event_type, parsed)
        return Webhook(
            source=source.name,
            event_type=event_type,
            time=self._clock.now(),
            correlation_id=correlation_id,
            content_type=content_type,
            body=raw,
            once=None if key is None else OnceOnly.of(source.name, key, raw),
            notify_url=notify_url,
            traceparent=requested.traceparent(headers),
        )


class IngestApp(FastAPI):
    """FastAPI for everything but the webhooks themselves."""

    def __init__(self, accept: AcceptWebhooks, **options: Any) -> None:
        super().__init__(**options)
        self.accept = accept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_source(scope["path"]):
            await self.accept(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        return document(super().openapi())


def _is_source(path: str) -> bool:
    return path.startswith(PREFIX) and len(path) > len(PREFIX) and "/" not in path[len(PREFIX) :]


async def read_body(receive: Receive, declared: int | None, limit: int) -> bytes:
    """The raw body. The limit holds whatever the sender declared. Raises Refusal, SenderGone."""
    if declared is not None and declared > limit:
        raise _too_large(limit)
    message = await receive()
    first: bytes = message.get("body", b"")
    pieces, size = [first], len(first)
    while message["type"] == "http.request" and message.get("more_body") and size <= limit:
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
    if message["type"] == "http.disconnect":
        raise SenderGone
    if size > limit:
        raise _too_large(limit)
    return first if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body is larger than {limit} bytes, the limit that SAGAHOOK_BODY_LIMIT sets")


async def _accept(source: str, receipt: Receipt, send: Send) -> None:
    answer = dumps(
        {
            "status": "accepted",
            "source": source,
            "message": MESSAGE,
            "correlation_id": receipt.correlation_id,
            "event_id": receipt.event_id,
        }
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
        (_CORRELATION_HEADER, receipt.correlation_id.encode()),
    ]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _refuse(
    raised: Exception,
    label: str,
    correlation_id: str,
    scope: Scope,
    headers: Headers,
    receive: Receive,
    send: Send,
) -> None:
    extra: dict[str, str] = {}
    match raised:
        case Refusal(status=status, error=error):
            if status == 405:
                extra["Allow"] = "POST"
        case Unavailable(error=error, retry_after=seconds):
            status = 503
            extra["Retry-After"] = str(seconds)
        case _:
            status, error = 500, "The server failed; its log says why, under this correlation id"
            log.error("webhook.failed", source=label, correlation_id=correlation_id, exc_info=raised)
    metrics.WEBHOOK_ERRORS.labels(label, str(status)).inc()
    response = error_response(
        status_code=status,
        error=error,
        path=scope["path"],
        correlation_id=correlation_id,
        accept=headers.get(b"accept", b"").decode("latin-1"),
        headers=extra,
    )
    await response(scope, receive, send)
