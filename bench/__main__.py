"""`make bench`: every figure of docs/performance.md in one run, on servers of its own.

ARGS: the names of the parts to run (ingest, runner, projection, end_to_end); all by default.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import end_to_end, ingest, projection, runner
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.postgres import EmbeddedPostgres

Part = Callable[[], Awaitable[dict[str, Any]]]


async def main(wanted: list[str]) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run; quote ratios, not seconds")
    with tempfile.TemporaryDirectory() as folder:
        # A broker that lives long has its second compiler, which `sagahook dev` leaves out to start sooner.
        runtime = await prepare_kafka()
        flags = (*runtime.archive_flags(), "-XX:TieredStopAtLevel=4")
        kafka = EmbeddedKafka(Path(folder) / "kafka", runtime, heap_mb=512, flags=flags)
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            await asyncio.gather(kafka.start(), postgres.start())
            await _run(
                {
                    "ingest": lambda: ingest.measure(kafka.bootstrap),
                    "runner": lambda: runner.measure(kafka.bootstrap),
                    "projection": lambda: projection.measure(kafka.bootstrap, postgres.url),
                },
                wanted,
            )
        finally:
            await kafka.stop()
            await postgres.stop()
    await _run({"end_to_end": end_to_end.measure}, wanted)


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
