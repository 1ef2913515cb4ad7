"""Two projectors, killed at random and stalled past their sessions while the log grows; are the views the log's?

    python -m bench.kills [KILLS]

Half of the time a projector is alone. It ends with the differences that `verify` finds, which should be none.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench.broker import long_lived_broker
from sagahook.embedded.postgres import EmbeddedPostgres
from tests.projector_kills import SESSION_SECONDS, differences, projectors
from tests.tracker_harness import open_tracker


async def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        await postgres.start()
        try:
            async with long_lived_broker() as kafka:
                for how_many in (1, 2):
                    await _kill(kafka.bootstrap, postgres.url, Path(folder), how_many, kills // 2)
        finally:
            await postgres.stop()


async def _kill(bootstrap: str, postgres_url: str, folder: Path, how_many: int, kills: int) -> None:
    name = f"kills_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    dice = random.Random(how_many)
    url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    async with open_tracker(bootstrap, name.replace("_", "-"), url) as tracker:
        async with projectors(tracker, folder, how_many, seed=how_many) as running:
            for number in range(kills):
                await asyncio.sleep(dice.uniform(0, 0.5))
                if how_many > 1 and number % 5 == 4:
                    await running.stall_one(dice.uniform(1.5, 3.0) * SESSION_SECONDS)
                await running.kill_one()
        report = await differences(tracker)
    print(
        f"{how_many} projector(s), {kills} kills: {report.compared['runs']:,} runs, "
        f"{sum(report.compared.values()):,} rows compared, {report.count} differences",
        flush=True,
    )
    for difference in report.differences:
        print(f"  {difference}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
