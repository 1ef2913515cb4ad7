"""The whole stack: from a POST to a status that says `completed`, at a steady rate.

`sagahook dev` as it comes (one process for the HTTP of all, one runner and so one partition), keep-alive connections,
a saga of three steps that do nothing. The status is asked for at once, with `?wait=`. The client is a lean one:
aiohttp's would take a twelfth of what all the rest takes.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import closing

from orjson import dumps, loads

from sagahook.embedded.stack import Stack, StackOptions
from tests.lean_http import LeanClient

RATE = 50
SECONDS = 20
WARM_UP_SECONDS = 3


async def measure() -> dict[str, float]:
    """`post_to_completed_p50_ms`, `…_p99_ms`, and `stack_ready_seconds`."""
    began = time.perf_counter()
    stack = Stack(StackOptions(app="bench.noop_app", port=0), say=lambda line: None)
    try:
        ready = await stack.start()
        ready_seconds = time.perf_counter() - began
        took = await _load(ready["api"])
    finally:
        await stack.stop()
    settled = sorted(took[RATE * WARM_UP_SECONDS :])
    return {
        "stack_ready_seconds": ready_seconds,
        "post_to_completed_p50_ms": statistics.median(settled) * 1000,
        "post_to_completed_p99_ms": settled[int(len(settled) * 0.99)] * 1000,
    }


async def _load(api: str) -> list[float]:
    with closing(LeanClient(api, RATE * SECONDS)) as client:
        began = time.perf_counter()
        tasks = []
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            tasks.append(asyncio.create_task(_carry_through(client, number)))
        return await asyncio.gather(*tasks)


async def _carry_through(client: LeanClient, number: int) -> float:
    began = time.perf_counter()
    body = dumps({"id": f"order-{number}", "note": "x" * 400})
    status, answer = await client.ask("POST", "/webhooks/noop", body)
    assert status == 202, answer
    correlation_id = loads(answer)["correlation_id"]
    status, answer = await client.ask("GET", f"/webhooks/noop/status/{correlation_id}?wait=20")
    assert status == 200, answer
    assert loads(answer)["status"] == "completed", answer
    return time.perf_counter() - began


if __name__ == "__main__":
    print({name: round(value, 2) for name, value in asyncio.run(measure()).items()})
