"""Where the stack keeps things that outlive one run."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO


def cache_dir() -> Path:
    """`$SAGAHOOK_CACHE`, else `$XDG_CACHE_HOME/sagahook`, else `~/.cache/sagahook`."""
    if own := os.environ.get("SAGAHOOK_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "sagahook"
    return Path.home() / ".cache" / "sagahook"


@asynccontextmanager
async def held(lock: Path) -> AsyncIterator[None]:
    """Waits for, then holds, an exclusive lock on a file. The kernel gives it up when this process ends."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        while not _try_lock(file):  # noqa: ASYNC110  # another process holds it: there is no event to await
            await asyncio.sleep(0.1)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
