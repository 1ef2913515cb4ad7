"""Another commit's saga-runner against this one's: the first slice's drained throughput, the two in turn on one broker.

    python -m bench.against COMMIT [ROUNDS]

Quote the ratio: such machines change their speed between two runs, and so the two of a pair are taken one right after
the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.broker import long_lived_broker

_PACKAGES = (
    "",
    "schemas",
    "services/ingest",
    "services/saga-runner",
    "services/tracker",
    "services/notifier",
)
_DRAIN = """
import asyncio, json, sys
from bench import runner
drain = getattr(runner, "drain", None) or runner._drain
print(json.dumps(asyncio.run(drain(sys.argv[1]))))
"""
"""It had its older name for long."""


def main(commit: str, rounds: int) -> None:
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        subprocess.run(["git", "-C", here, "worktree", "add", "--detach", other, commit], check=True)
        try:
            asyncio.run(_compare(other, here, rounds))
        finally:
            subprocess.run(["git", "-C", here, "worktree", "remove", "--force", other], check=True)


async def _compare(other: Path, here: Path, rounds: int) -> None:
    ratios, cpu = [], []
    async with long_lived_broker() as kafka:
        await _drain(other, kafka.bootstrap)  # warms the broker up
        for number in range(1, rounds + 1):
            # Each is the first in every other round: the second finds a broker that holds more.
            trees = (other, here) if number % 2 else (here, other)
            told = {tree: await _drain(tree, kafka.bootstrap) for tree in trees}
            before, now = told[other], told[here]
            ratios.append(now["drained_per_second"] / before["drained_per_second"])
            cpu.append(now["cpu_ms_per_saga"] / before["cpu_ms_per_saga"])
            print(
                f"{number}: {before['drained_per_second']:,.0f} then, {now['drained_per_second']:,.0f} now: "
                f"{ratios[-1]:.2f} (the runner's processor time {cpu[-1]:.2f}, load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}, processor time {statistics.median(cpu):.2f}")


async def _drain(tree: Path, bootstrap: str) -> dict[str, float]:
    path = os.pathsep.join(str(tree / package) for package in _PACKAGES)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _DRAIN, bootstrap),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )
    told, _ = await process.communicate()
    figures: dict[str, float] = json.loads(told)
    return figures


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
