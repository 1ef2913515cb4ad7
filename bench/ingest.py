"""A signed POST → durable 202 against a bare FastAPI route that only reads the body.

Both are served the same way (uvicorn, httptools, uvloop, one worker, kept-alive connections), get the same
500-byte body from a load generator in a process of its own, and take turns, so that what else the machine does
meets both.
"""

from __future__ import annotations

import asyncio
import json
import sys
from statistics import median
from typing import Any

from bench import served
from bench.served import Served

CONNECTIONS = (16, 64)


async def measure(bootstrap: str, *, rounds: int = 5, seconds: float = 2.0) -> dict[str, Any]:
    """By number of connections: requests a second of both (medians of the rounds), their ratio, and ours in ms.

    `{"16": {"ratio", "per_second", "bare_per_second", "p50_ms", "p99_ms"}, "64": …}` and the conditions.
    """
    async with served.ingest(bootstrap) as ours, served.bare() as bare:
        await served.warm_up(ours, bare)
        results: dict[str, Any] = {
            str(connections): await _compare(ours, bare, connections, rounds, seconds)
            for connections in CONNECTIONS
        }
    return results | {
        "body_bytes": served.BODY_BYTES,
        "workers": 1,
        "keep_alive": True,
        "partitions": served.PARTITIONS,
    }


async def _compare(
    ours: Served, bare: Served, connections: int, rounds: int, seconds: float
) -> dict[str, float]:
    runs = [
        (await served.drive(ours, connections, seconds), await served.drive(bare, connections, seconds))
        for _ in range(rounds)
    ]
    for run, _ in runs:
        if set(run["statuses"]) != {"202"}:
            raise RuntimeError(f"not every webhook was accepted: {run['statuses']}")
    accepted = median(run["per_second"] for run, _ in runs)
    read = median(run["per_second"] for _, run in runs)
    return {
        "ratio": round(accepted / read, 2),
        "per_second": accepted,
        "bare_per_second": read,
        "p50_ms": median(run["p50_ms"] for run, _ in runs),
        "p99_ms": median(run["p99_ms"] for run, _ in runs),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1])), indent=2))
