"""`make bench`: every figure of docs/performance.md in one run, on servers of its own.

ARGS: the names of the parts to run (ingest, runner, projection, delivery, end_to_end); all by default.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench import delivery, end_to_end, ingest, projection, runner
from bench.broker import long_lived_broker
from sagahook.embedded.postgres import EmbeddedPostgres

Part = Callable[[], Awaitable[dict[str, Any]]]


async def main(wanted: list[str]) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run; quote ratios, not seconds")
    async with long_lived_broker() as kafka, _database() as url:
        await _run(
            {
                "ingest": lambda: ingest.measure(kafka.bootstrap),
                "runner": lambda: runner.measure(kafka.bootstrap),
                "projection": lambda: projection.measure(kafka.bootstrap, url),
                "delivery": lambda: delivery.measure(kafka.bootstrap, url),
            },
            wanted,
        )
    await _run({"end_to_end": end_to_end.measure}, wanted)


@asynccontextmanager
async def _database() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder))
        try:
            await postgres.start()
            yield postgres.url
        finally:
            await postgres.stop()


async def _run(parts: dict[str, Part], wanted: list[str]) -> None:
    for name, measure in parts.items():
        if wanted and name not in wanted:
            continue
        print(f"\n{name} (load {os.getloadavg()[0]:.1f})", flush=True)
        for figure, value in (await measure()).items():
            shown = f"{value:,.2f}" if isinstance(value, float) else value
            print(f"  {figure:32} {shown}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
