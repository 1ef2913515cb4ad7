"""What the adapters of frameworks that wait have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import JsonValue

from sagahook.client import WebhookAccepted
from sagahook.client.calls import Call
from sagahook.client.core import Answered
from sagahook.client.listing import EveryOperation
from sagahook.client.models import SagaDetails, WebhookStatus
from sagahook.integrations.asgi import Application
from sagahook.integrations.background import Background, PerProcess
from sagahook.integrations.forms import Form
from sagahook.integrations.gateway import Gateway
from sagahook.integrations.wsgi import Answer, Read, call, scope_of

T = TypeVar("T")


class Waiting:
    """An application's way to sagahook, from the threads of a server that waits. Threads share one; so do processes
    that are forked, each of which has a loop of its own."""

    def __init__(self, form: Form) -> None:
        self._background = PerProcess(lambda: Background(form.open()))
        self.client = ApiClient(self._background)
        """Every question of the status API, and every act, as in sagahook.client."""

    def start(self) -> None:
        """Begin now, in this process, instead of with the first request: a server calls it in each worker, after it
        has forked."""
        self._background()

    def close(self) -> None:
        """Answer what was accepted, and end. A process that ends does this by itself."""
        self._background().close()

    def send(
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
        background = self._background()
        return background.run(
            background.gateway.send(
                source,
                event,
                event_type=event_type,
                correlation_id=correlation_id,
                idempotency_key=idempotency_key,
            )
        )

    def run_sync(
        self,
        source: str,
        event: JsonValue,
        *,
        timeout: float = 30.0,
        event_type: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookStatus:
        """As `send`, and what became of it, once that is final. This thread waits for it. Raises NotFinal after
        `timeout` seconds."""
        background = self._background()
        return background.run(
            background.gateway.run(
                source,
                event,
                timeout=timeout,
                event_type=event_type,
                correlation_id=correlation_id,
                idempotency_key=idempotency_key,
            )
        )

    def answer(
        self, route: Callable[[Gateway], Application], environ: Mapping[str, Any], read: Read
    ) -> Answer:
        """What a request is answered. environ, read: the request, as in PEP 3333."""
        background = self._background()
        return call(background, route(background.gateway), scope_of(environ), read)


class ApiClient(EveryOperation):
    """As sagahook.client.Client, over the connections of the background's loop. Every method raises SagahookError."""

    def __init__(self, background: Callable[[], Background]) -> None:
        self._background = background

    def run(self, call: Call[T], /) -> T:
        return self.ask(call).value

    def ask(self, call: Call[T], /) -> Answered[T]:
        background = self._background()
        return background.run(background.gateway.client.ask(call))

    def wait_until_final(self, source: str, correlation_id: str, *, timeout: float = 60.0) -> WebhookStatus:
        """What became of a webhook, once nothing more happens. Raises NotFinal after `timeout` seconds."""
        background = self._background()
        return background.run(
            background.gateway.client.wait_until_final(source, correlation_id, timeout=timeout)
        )

    def wait_for_saga(self, saga_id: str, *, timeout: float = 60.0) -> SagaDetails:
        """The saga's newest run, once it has ended. Raises NotFinal after `timeout` seconds."""
        background = self._background()
        return background.run(background.gateway.client.wait_for_saga(saga_id, timeout=timeout))
