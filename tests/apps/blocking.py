"""A saga that holds up its runner's event loop: what no step should do, and what liveness is there to notice."""

import os
import time
from typing import Any

from sagahook.saga import Saga, StepContext, step, trigger


class Blocking(Saga):
    @trigger(source="blocking", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(timeout=60)
    async def hold_up(self, ctx: StepContext) -> None:
        """As long as the file `BLOCKED_WHILE` is there."""
        while os.path.exists(os.environ["BLOCKED_WHILE"]):  # noqa: ASYNC240  # so is this
            time.sleep(0.05)  # noqa: ASYNC251  # it is the point
