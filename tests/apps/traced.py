"""Sagas that are to be traced. Their first step is an HTTP request to `HOST_URL`; the second one of `Traced` hangs in
its first attempt, and then fails."""

import asyncio
import logging
import os
from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, step, trigger
from sagahook.saga.http import http_request, http_step
from tests.apps.notes import note

_HOST = os.environ.get("HOST_URL", "http://127.0.0.1:9")
_RETRY = Retry(max=3, initial=0.05, jitter=0)
_log = logging.getLogger(__name__)


class Traced(Saga):
    @trigger(source="traced", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    reserve = http_step(
        "POST",
        f"{_HOST}/reservations",
        json={"order": "{id}"},
        params={"key": "{key}"},
        retry=_RETRY,
        compensate=http_request("POST", f"{_HOST}/reservations/undo", retry=_RETRY),
    )

    @step(retry=_RETRY)
    async def charge(self, ctx: StepContext) -> None:
        note(ctx, "began")
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        raise PermanentError(f"declined: {ctx.context['card']}")


class Plain(Saga):
    """Nothing but a line in the log, from a thread."""

    @trigger(source="plain", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    tell = http_step("POST", f"{_HOST}/told", json={}, retry=_RETRY)

    @step(retry=_RETRY)
    def write(self, ctx: StepContext) -> None:
        _log.warning("written by an action")
        note(ctx, "done")
