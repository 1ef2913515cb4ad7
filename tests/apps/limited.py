"""Sagas that wait for their turn. The limits come from the environment, so that a test deploys others by a restart.

`MAX_CONCURRENT`; `RATE_COUNT` in `RATE_SECONDS`.
"""

import os
from typing import Any

from sagahook.saga import RateLimit, Retry, Saga, StepContext, step, trigger
from tests.apps.notes import work

_RETRY = Retry(max=2, initial=0.05, jitter=0)


class Counted(Saga):
    """So many at once, of all of them together."""

    @trigger(
        source="limited", idempotency_key="id", max_concurrent=int(os.environ.get("MAX_CONCURRENT", "2"))
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_RETRY, timeout=20)
    async def one(self, ctx: StepContext) -> None:
        await work(ctx)


class Rated(Saga):
    """So many in a time, for each customer by itself."""

    @trigger(
        source="rated",
        idempotency_key="id",
        concurrency_key="customer",
        rate_limit=RateLimit(
            count=int(os.environ.get("RATE_COUNT", "5")), per=float(os.environ.get("RATE_SECONDS", "1"))
        ),
    )
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_RETRY, timeout=20)
    async def one(self, ctx: StepContext) -> None:
        await work(ctx)
