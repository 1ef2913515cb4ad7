"""Effects that a test can count: lines in the file `EFFECTS_FILE`.

One line `key attempt began` for each attempt that began and one `key attempt done` for each that ended.
"""

import asyncio
import os

from sagahook.saga import StepContext


def note(ctx: StepContext, what: str) -> None:
    line = f"{ctx.idempotency_key} {ctx.attempt} {what}\n".encode()
    file = os.open(os.environ["EFFECTS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)  # one write, appended whole even when two processes write at once
    finally:
        os.close(file)


async def work(ctx: StepContext) -> None:
    """`STEP_SECONDS`: how long it takes."""
    note(ctx, "began")
    await asyncio.sleep(float(os.environ.get("STEP_SECONDS", "0")))
    note(ctx, "done")
