"""POST → durable 202 under load that does not wait for answers, against a bare FastAPI route that only reads the body.

    python -m bench.open_loop [ROUNDS [SECONDS]]

Each server is first driven by a closed loop until it is saturated; then both get requests at random moments. In `half`
each gets half of what saturates it; in `same` both get half of what saturates the slower one, in `fast` of the faster.
The servers take turns within a round, so that what else the machine does meets both; figures are medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from statistics import median
from typing import Any

from bench import served
from bench.broker import long_lived_broker
from bench.served import Served

CONNECTIONS = 64


async def measure(bootstrap: str, *, rounds: int = 5, seconds: float = 4.0) -> dict[str, Any]:
    """`{"half": {"per_second", "p50_ms", "p99_ms", "bare_per_second", …, "p50_ratio", "p99_ratio"}, "same": …,
    "fast": …}` and what saturates each, in requests a second. Raises RuntimeError where a request was answered
    otherwise than well.
    """
    async with served.ingest(bootstrap) as ours, served.bare() as bare:
        await served.warm_up(ours, bare)
        most = [await _saturation(server, rounds) for server in (ours, bare)]
        half = (most[0] / 2, most[1] / 2)
        pairs = {"half": half, "same": (min(half), min(half)), "fast": (max(half), max(half))}
        compared = {name: await _compare(ours, bare, rates, rounds, seconds) for name, rates in pairs.items()}
    return compared | {"saturation": most[0], "bare_saturation": most[1], "connections": CONNECTIONS}


async def _saturation(server: Served, rounds: int) -> float:
    runs = [await served.load(server, connections=CONNECTIONS, seconds=1.5) for _ in range(rounds)]
    return float(median(run["answered_per_second"] for run in runs))


async def _compare(
    ours: Served, bare: Served, rates: tuple[float, float], rounds: int, seconds: float
) -> dict[str, float]:
    runs = [
        [
            await served.load(server, rate=rate, connections=CONNECTIONS, seconds=seconds)
            for server, rate in zip((ours, bare), rates, strict=True)
        ]
        for _ in range(rounds)
    ]
    for run, read in runs:
        if set(run["statuses"]) != {"202"} or set(read["statuses"]) != {"200"}:
            raise RuntimeError(f"not every request was served: {run['statuses']}, {read['statuses']}")
    figures: dict[str, float] = {}
    for index, label in enumerate(("", "bare_")):
        figures[f"{label}per_second"] = median(pair[index]["answered_per_second"] for pair in runs)
        for name in ("p50_ms", "p99_ms", "late_p99_ms"):
            figures[f"{label}{name}"] = median(pair[index][name] for pair in runs)
    for name in ("p50", "p99"):
        figures[f"{name}_ratio"] = round(figures[f"{name}_ms"] / figures[f"bare_{name}_ms"], 2)
    return figures


async def main(rounds: int = 5, seconds: float = 4.0) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run; quote ratios, not seconds")
    async with long_lived_broker() as kafka:
        print(json.dumps(await measure(kafka.bootstrap, rounds=rounds, seconds=seconds), indent=2))


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:3])))
