"""A GET at once after each POST: is it ever 404? The whole stack, and its projector stopped (SIGSTOP) for a while.

`python -m bench.after_post`; BENCH_POSTS: how many. A few workers each send a webhook and ask at once for its
status, for its event and for its task; halfway the projector stands still for five seconds, when answers may be 503.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator

import aiohttp

from sagahook.embedded.stack import Stack, StackOptions

POSTS = int(os.environ.get("BENCH_POSTS", "10000"))
WORKERS = 8
STOPPED_SECONDS = 5.0


async def main() -> None:
    for limit in ("SAGAHOOK_API_RATE_LIMIT", "SAGAHOOK_OPEN_RATE_LIMIT"):
        os.environ[limit] = "none"
    stack = Stack(StackOptions(app="bench.noop_app", port=0), say=lambda line: None)
    try:
        ready = await stack.start()
        headers = {"Authorization": f"Bearer {ready['keys']['reader']}"}
        async with aiohttp.ClientSession(ready["api"], headers=headers) as http:
            codes, during = await _measure(http, ready["pids"]["tracker"][0])
    finally:
        await stack.stop()
    print(f"{POSTS:,} POSTs, {sum(codes.values()) + sum(during.values()):,} answers")
    print(f"  by their codes: {dict(codes)}; while the projector was stopped: {dict(during)}")
    assert 404 not in codes | during, "what was accepted was unknown"


async def _measure(http: aiohttp.ClientSession, projector: int) -> tuple[Counter[int], Counter[int]]:
    """The codes of the answers, and of those that were asked for while the projector was stopped."""
    codes: Counter[int] = Counter()
    during: Counter[int] = Counter()
    stopped = asyncio.Event()
    halfway = asyncio.Event()

    async def stop_and_go() -> None:
        await halfway.wait()
        os.kill(projector, signal.SIGSTOP)
        stopped.set()
        await asyncio.sleep(STOPPED_SECONDS)
        os.kill(projector, signal.SIGCONT)
        stopped.clear()

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            if number == POSTS // 2:
                halfway.set()
            for path in await _post(http, number):
                counter = during if stopped.is_set() else codes
                async with http.get(path) as response:
                    await response.read()
                    counter[response.status] += 1

    numbers = iter(range(POSTS))
    await asyncio.gather(stop_and_go(), *(work(numbers) for _ in range(WORKERS)))
    return codes, during


async def _post(http: aiohttp.ClientSession, number: int) -> tuple[str, ...]:
    """What to ask for."""
    async with http.post("/webhooks/noop", json={"id": f"order-{number}"}) as response:
        body = await response.json()
        assert response.status == 202, body
    return (
        f"/webhooks/noop/status/{body['correlation_id']}",
        f"/api/v1/webhooks/events/{body['event_id']}",
        f"/api/v1/status/{body['event_id']}",
    )


if __name__ == "__main__":
    asyncio.run(main())
