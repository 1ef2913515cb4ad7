"""Steps that are one HTTP request each.

charge = http_step(
    "POST", "https://payments.example/charges", json={"order": "{order_id}", "amount": "{amount}"},
    expect=201, compensate=http_request("POST", "https://payments.example/charges/undo"),
)

See docs/reference/http-step.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from sagahook.saga.breaker import DEFAULT_BREAKER, Breaker
from sagahook.saga.context import StepContext
from sagahook.saga.declared import Code, DeclaredStep, Duration, StepOptions, seconds
from sagahook.saga.http_answers import Expect, HttpAnswer
from sagahook.saga.http_client import close_sessions
from sagahook.saga.http_requests import Computed, HttpRequest
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import TIMEOUTS, CompensationDefinition, Retry

__all__ = ["Breaker", "HttpAnswer", "HttpRequest", "HttpStep", "close_sessions", "http_request", "http_step"]


def http_request(
    method: str,
    url: str | Computed,
    *,
    json: Any = None,
    headers: Mapping[str, str | Computed] | Computed | None = None,
    params: Mapping[str, Any] | Computed | None = None,
    expect: Expect = None,
    timeout: Duration | None = None,
    retry: Retry | None = None,
    breaker: Breaker | None = DEFAULT_BREAKER,
) -> HttpRequest:
    """What undoes an http_step, or what an action asks itself: `await http_request(…).ask(ctx)`. As there; gaps may
    also name the action's result (`{result.id}`), which is missing where the action's outcome is unknown: rather let
    the host undo by the header `X-Compensates`, the action's key."""
    return HttpRequest(method.upper(), url, json, headers, params, expect, timeout, retry, breaker)


def http_step(
    method: str,
    url: str | Computed,
    *,
    json: Any = None,
    headers: Mapping[str, str | Computed] | Computed | None = None,
    params: Mapping[str, Any] | Computed | None = None,
    expect: Expect = None,
    compensate: HttpRequest | None = None,
    breaker: Breaker | None = DEFAULT_BREAKER,
    **options: Unpack[StepOptions],
) -> HttpStep:
    """A step that is one request; its result is the answer's body, as JSON where it is JSON, else as text.

    url, json, headers, params: written out, with gaps for fields of the context (`{order_id}`, see http_templates),
    or functions of the StepContext. expect: which answers are a success, every 2xx by default. breaker: when the
    host's circuit opens; None is never.
    """
    request = HttpRequest(method.upper(), url, json, headers, params, expect, None, None, breaker)
    return HttpStep(request, compensate, **options)


class HttpStep(DeclaredStep):
    """See http_step."""

    def __init__(
        self, request: HttpRequest, undo: HttpRequest | None, **options: Unpack[StepOptions]
    ) -> None:
        super().__init__(**options)
        self.request = request
        self.undo = undo

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.request.problems()
        if self.heartbeat is not None:
            yield "an HTTP step gives no signs of life while it waits: use timeout= instead of heartbeat="
        if self.undo is not None and not isinstance(self.undo, HttpRequest):
            yield f"compensate must be an http_request(...), not {self.undo!r}"
        elif self.undo is not None:
            yield from (f"compensate: {problem}" for problem in self.undo.problems())

    def details(self) -> dict[str, Any]:
        if not isinstance(self.undo, HttpRequest):
            return {}
        definition = CompensationDefinition(
            timeout=_undo_seconds(self.undo), retry=self.undo.retry or Retry()
        )
        return {"compensation": definition}

    def action(self) -> Code:
        return self._call

    def compensation(self) -> Code | None:
        return None if self.undo is None else self._undo

    async def _call(self, saga: object, ctx: StepContext) -> JsonValue:
        return await self.request.call(ctx, self.timeout)

    async def _undo(self, saga: object, ctx: StepContext, result: JsonValue) -> None:
        if self.undo is not None:
            await self.undo.call(ctx, _undo_seconds(self.undo), result=result, undoes=True)


def _undo_seconds(undo: HttpRequest) -> float:
    return TIMEOUTS["network"] if undo.timeout is None else seconds(undo.timeout)
