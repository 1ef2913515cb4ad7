"""What the delivery bench compares with: aiohttp's client that posts bodies and does nothing else. Run by
bench/delivery.py: `URL COUNT BYTES CONCURRENCY`; prints posts a second."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import uvloop


async def main(url: str, count: int, size: int, concurrency: int) -> float:
    body = b"x" * size
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post() -> None:
            for _ in left:
                async with session.post(
                    url, data=body, headers={"Content-Type": "application/json"}
                ) as response:
                    await response.read()

        began = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(concurrency)))
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:5]))))
