"""`KAFKA PREFIX PARTITIONS LAST`: it is killed when it has said a line that begins with LAST."""

import asyncio
import os
import signal
import sys

from sagahook.cli.repartitioning.moving import Move, repartition


def main() -> None:
    _, kafka, prefix, partitions, last = sys.argv

    def say(line: str) -> None:
        if line.startswith(last):
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(repartition(Move(kafka, prefix, f"{prefix}.g2", int(partitions)), say))
