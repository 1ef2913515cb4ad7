"""Watching other processes from a test."""

import asyncio
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]  # it ships no types


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Fails with TimeoutError when it never comes true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether it has ended; its parent may not have asked how yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
