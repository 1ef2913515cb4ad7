"""Two replicas of each service, replaced one by one under load, on one machine: is anything refused, lost or repeated?

    python -m bench.rollout [RATE] [ROUNDS]

RATE: webhooks a second (200); each starts a saga with two steps of up to a second. ROUNDS: how often each replica is
replaced (1). It ends with what is not as if nobody had been replaced, which should be nothing.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.broker import long_lived_broker
from sagahook.embedded.postgres import EmbeddedPostgres
from tests.rolling import KINDS, Rollout, rolled_out
from tests.rolling_load import Load

_WARM_UP = 60.0
"""Seconds under load before the first is replaced: a deployment that is rolled out has been running, and a broker that
has not costs its machine twice as much for a request."""


async def main(rate: float, rounds: int) -> bool:
    """Whether all was well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        postgres = EmbeddedPostgres(folder / "postgres")
        await postgres.start()
        try:
            async with (
                long_lived_broker() as kafka,
                rolled_out(folder, kafka.bootstrap, "rolled", postgres.url) as rollout,
            ):
                return await _roll(rollout, rollout.load(rate), rounds)
        finally:
            await postgres.stop()


async def _roll(rollout: Rollout, load: Load, rounds: int) -> bool:
    stopping = asyncio.Event()
    sending = asyncio.create_task(load.run(stopping))
    began = time.perf_counter()
    await asyncio.sleep(_WARM_UP)
    for kind in KINDS * rounds:
        for _ in range(2):
            replaced = time.perf_counter()
            await rollout.replace(kind)
            print(
                f"{' '.join(kind):28} replaced in {time.perf_counter() - replaced:5.1f} s; so far "
                f"{dict(load.answers)}, questions {dict(load.asked)}",
                flush=True,
            )
    stopping.set()
    await sending
    seconds = time.perf_counter() - began
    print(
        f"{sum(load.answers.values()):,} webhooks in {seconds:.0f} s ({sum(load.answers.values()) / seconds:.0f}/s), "
        f"answers {dict(load.answers)}, closed over a request {dict(load.closed)}, "
        f"the slowest in {load.slowest * 1000:.0f} ms; "
        f"{sum(load.asked.values()):,} questions, answers {dict(load.asked)}",
        flush=True,
    )
    violations = await rollout.violations(load)
    for what, found in violations.items():
        print(f"  {what}: {found}", flush=True)
    print(f"{len(violations)} violations", flush=True)
    return not violations


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    sys.exit(0 if uvloop.run(main(float(given.get(1, 200)), int(given.get(2, 1)))) else 1)
